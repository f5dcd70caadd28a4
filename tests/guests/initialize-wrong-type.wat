;; `_initialize` takes a number.
(func (export "_initialize") (param i32))
