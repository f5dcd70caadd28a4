;; Plans with numbers that the host does not give.
(func (export "pointsman_plan") (param f64 f64))
