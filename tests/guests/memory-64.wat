;; Its memory has addresses of 64 bits.
(memory (export "memory") i64 2)
