;; Is built for ABI 0.
(func (export "pointsman_abi_version") (result i32) (i32.const 7))
