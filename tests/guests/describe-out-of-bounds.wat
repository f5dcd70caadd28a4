;; Says who it is outside of its memory.
(func (export "pointsman_describe") (result i64) (i64.const 0xfffffff000000040))
