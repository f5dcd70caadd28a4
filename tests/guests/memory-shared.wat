;; Shares its memory with threads.
(memory (export "memory") 2 2 shared)
