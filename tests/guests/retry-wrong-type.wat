;; Answers with a number in place of a block.
(func (export "pointsman_retry") (param i32 i32 i32) (result i32) (i32.const 1))
