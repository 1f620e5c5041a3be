#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| firnline_fuzz::run("metadata_entry", data));
