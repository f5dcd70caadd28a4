;; Never says who it is.
(func (export "pointsman_describe") (result i64) (loop $forever (br $forever)) (i64.const 0))
