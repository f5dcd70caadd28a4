;; Hands out memory whose end, as a number of 32 bits, is within its memory.
(func (export "pointsman_alloc") (param $size i32) (param $align i32) (result i32) (i32.const 0xffffffc0))
