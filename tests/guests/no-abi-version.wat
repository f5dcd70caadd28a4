;; Does not export "pointsman_abi_version".
