;; Hands out memory of a size only, without an alignment.
(func (export "pointsman_alloc") (param $size i32) (result i32) (i32.const 65536))
