;; Takes its config without a length.
(func (export "pointsman_configure") (param i32) (result i64) (i64.const 0))
