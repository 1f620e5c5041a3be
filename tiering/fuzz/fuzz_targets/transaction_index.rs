#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| firnline_tiering_fuzz::run("transaction_index", data));
