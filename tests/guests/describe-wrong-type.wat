;; Says who it is in 32 bits.
(func (export "pointsman_describe") (result i32) (i32.const 0))
