;; Refuses its config with a message outside of its memory.
(func (export "pointsman_configure") (param $ptr i32) (param $len i32) (result i64) (i64.const 0x0001ffff00000002))
