;; Is built for ABI 99.
(func (export "pointsman_abi_version") (result i32) (i32.const 0x00630002))
