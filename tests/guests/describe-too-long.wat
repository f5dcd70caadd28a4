;; Says who it is at too great a length.
(func (export "pointsman_describe") (result i64) (i64.const 0x0000040000001001))
