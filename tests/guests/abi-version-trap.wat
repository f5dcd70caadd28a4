;; Traps when it is asked for its version.
(func (export "pointsman_abi_version") (result i32) unreachable)
