#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| prefork::fuzzing::check("snapshot", data));
