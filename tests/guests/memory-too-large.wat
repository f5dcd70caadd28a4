;; Wants 64 MiB at once.
(memory (export "memory") 1024)
