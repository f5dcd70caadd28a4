;; Refuses its config with a message that would clear the terminal.
(data (i32.const 2048) "cleared \1b[2J\0d\0a\ff")
(func (export "pointsman_configure") (param $ptr i32) (param $len i32) (result i64) (i64.const 0x000008000000000f))
