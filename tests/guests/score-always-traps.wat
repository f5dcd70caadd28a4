;; Traps whatever it is asked, so that the probe finds it.
(func (export "pointsman_score") (param i32 i32 i32 i32) unreachable)
