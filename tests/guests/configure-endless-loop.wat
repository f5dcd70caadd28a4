;; Never comes to an end of reading its config.
(func (export "pointsman_configure") (param $ptr i32) (param $len i32) (result i64) (loop $forever (br $forever)) (i64.const 0))
