//! Reads Rust sources as the house rules see them: imports, tokens, functions, door plates.
//! It judges nothing; test code (`#[cfg(test)]` and `#[test]` items) is invisible to it.

use std::collections::BTreeMap;

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::Visit;

/// One path named by a file, as written, with the line it stands on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    pub path: Vec<String>,
    pub line: usize,
}

/// A function and how many lines it spans, signature and braces included.
#[derive(Debug)]
pub struct Function {
    pub name: String,
    pub line: usize,
    pub lines: usize,
}

/// What the rules need to know about one file.
#[derive(Debug)]
pub struct Source {
    pub text: String,
    pub named: Vec<Named>,
    pub functions: Vec<Function>,
    /// Lines that call `.unwrap()` or `.expect(..)` outside tests.
    pub loose_calls: Vec<usize>,
    /// Lines of a file that hold anything but `mod`, `use` and attributes.
    pub logic: Vec<usize>,
}

/// Sources by their path from the repository's root, for example `tiering/src/log/append.rs`.
pub type Tree = BTreeMap<String, Source>;

impl Source {
    /// Parses `text`; a file that does not parse is a failure of the test, not of a rule.
    pub fn parse(path: &str, text: &str) -> Source {
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut reader = Reader::default();
        reader.visit_file(&file);
        if is_test(&file.attrs) {
            reader = Reader { test_lines: vec![1..=text.lines().count()], ..Reader::default() };
        }
        let logic = file.items.iter().filter(|item| !is_plate_item(item)).map(|item| line_of(item.span()));
        let mut source = Source {
            text: text.to_owned(),
            named: reader.named,
            functions: reader.functions,
            loose_calls: Vec::new(),
            logic: logic.collect(),
        };
        let mut tokens = Vec::new();
        let stream: TokenStream = text.parse().unwrap_or_else(|error| panic!("{path}: {error}"));
        flatten(stream, &mut tokens);
        tokens.retain(|token| !reader.test_lines.iter().any(|lines| lines.contains(&token.1)));
        source.loose_calls = loose_calls(&tokens);
        source.named.extend(spelled_paths(&tokens));
        source.named.sort();
        source.named.dedup();
        source
    }
}

fn line_of(span: Span) -> usize {
    span.start().line
}

fn is_plate_item(item: &syn::Item) -> bool {
    match item {
        syn::Item::Mod(module) => module.content.is_none() || is_test(&module.attrs),
        syn::Item::Use(_) => true,
        _ => false,
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        if path.segments.last().is_some_and(|last| last.ident == "test") {
            return true;
        }
        path.is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|argument| argument.is_ident("test"))
    })
}

#[derive(Default)]
struct Reader {
    named: Vec<Named>,
    functions: Vec<Function>,
    test_lines: Vec<std::ops::RangeInclusive<usize>>,
}

impl Reader {
    fn skip(&mut self, span: Span) {
        self.test_lines.push(span.start().line..=span.end().line);
    }

    fn function(&mut self, name: &syn::Ident, from: Span, to: Span) {
        let (first, last) = (from.start().line, to.end().line);
        self.functions.push(Function { name: name.to_string(), line: first, lines: last - first + 1 });
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if is_test(&module.attrs) {
            self.skip(module.span());
        } else {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if is_test(&function.attrs) {
            self.skip(function.span());
            return;
        }
        self.function(&function.sig.ident, function.sig.span(), function.block.span());
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_item_impl(&mut self, block: &'ast syn::ItemImpl) {
        if is_test(&block.attrs) {
            self.skip(block.span());
        } else {
            syn::visit::visit_item_impl(self, block);
        }
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        if is_test(&item.attrs) {
            self.skip(item.span());
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if is_test(&function.attrs) {
            self.skip(function.span());
            return;
        }
        self.function(&function.sig.ident, function.sig.span(), function.block.span());
        syn::visit::visit_impl_item_fn(self, function);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if is_test(&item.attrs) {
            self.skip(item.span());
            return;
        }
        leaves(&item.tree, &mut Vec::new(), &mut self.named);
    }
}

/// Every full path of a `use` tree; a rename keeps the original name, a glob keeps what stands before it.
fn leaves(tree: &syn::UseTree, prefix: &mut Vec<String>, named: &mut Vec<Named>) {
    let mut leaf = |name: Option<&syn::Ident>, span: Span| {
        let path = prefix.iter().cloned().chain(name.map(ToString::to_string)).collect();
        named.push(Named { path, line: line_of(span) });
    };
    match tree {
        syn::UseTree::Name(name) => leaf(Some(&name.ident), name.span()),
        syn::UseTree::Rename(rename) => leaf(Some(&rename.ident), rename.span()),
        syn::UseTree::Glob(glob) => leaf(None, glob.span()),
        syn::UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            leaves(&path.tree, prefix, named);
            prefix.pop();
        }
        syn::UseTree::Group(group) => {
            for tree in &group.items {
                leaves(tree, prefix, named);
            }
        }
    }
}

type Token = (String, usize);

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    for tree in stream {
        let line = line_of(tree.span());
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    proc_macro2::Delimiter::Parenthesis => ("(", ")"),
                    proc_macro2::Delimiter::Brace => ("{", "}"),
                    proc_macro2::Delimiter::Bracket => ("[", "]"),
                    proc_macro2::Delimiter::None => ("", ""),
                };
                tokens.push((open.to_owned(), line));
                flatten(group.stream(), tokens);
                tokens.push((close.to_owned(), line_of(group.span_close())));
            }
            TokenTree::Ident(ident) => tokens.push((ident.to_string(), line)),
            TokenTree::Punct(punct) => tokens.push((punct.as_char().to_string(), line)),
            TokenTree::Literal(_) => tokens.push(("\"".to_owned(), line)),
        }
    }
}

fn loose_calls(tokens: &[Token]) -> Vec<usize> {
    let call = |window: &&[Token]| {
        window[0].0 == "." && matches!(window[1].0.as_str(), "unwrap" | "expect") && window[2].0 == "("
    };
    tokens.windows(3).filter(call).map(|window| window[1].1).collect()
}

/// Paths written out in code or in a macro's arguments: `a::b::c`, at least two names long.
fn spelled_paths(tokens: &[Token]) -> Vec<Named> {
    let is_name = |token: &Token| token.0.starts_with(|c: char| c.is_alphabetic() || c == '_');
    let colons = |at: usize| {
        tokens.get(at).is_some_and(|token| token.0 == ":")
            && tokens.get(at + 1).is_some_and(|token| token.0 == ":")
    };
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let starts = is_name(&tokens[at]) && (at < 2 || !colons(at - 2));
        if !(starts && colons(at + 1)) {
            at += 1;
            continue;
        }
        let mut path = vec![tokens[at].0.clone()];
        let line = tokens[at].1;
        while colons(at + 1) && tokens.get(at + 3).is_some_and(is_name) {
            at += 3;
            path.push(tokens[at].0.clone());
        }
        at += 1;
        if path.len() > 1 {
            paths.push(Named { path, line });
        }
    }
    paths
}
