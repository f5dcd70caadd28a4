;; Its memory is a number. Its data lies in another memory, which it does not export.
(global (export "memory") i32 (i32.const 0))
(memory 2)
