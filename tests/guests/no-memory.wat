;; Does not export its "memory".
(memory 2)
