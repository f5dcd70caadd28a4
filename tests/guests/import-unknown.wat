;; Wants the time, which no policy is given.
(import "pointsman" "now" (func (result i64)))
