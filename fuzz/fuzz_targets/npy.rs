#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rsna_tui_testkit::fuzz::npy(bytes));
