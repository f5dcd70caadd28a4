"""web3.py as a client of the proxy: `web3_client.py requests URL INPUTS`, with the steps of ethers_client.mjs."""

import json
import sys

from web3 import HTTPProvider, Web3

SHA256 = "0x0000000000000000000000000000000000000002"
IDENTITY = "0x0000000000000000000000000000000000000004"
MEMBERS = [f"0x{n:04x}" for n in range(1, 21)]

url, inputs = sys.argv[2], json.loads(sys.argv[3])
# Without attempts of its own: the proxy hides a dead node.
w3 = Web3(HTTPProvider(url, exception_retry_configuration=None))
account = w3.eth.account.from_key(inputs["key"])


def say(**observation):
    print(json.dumps(observation), flush=True)


def call(to, data):
    return w3.eth.call({"to": to, "data": data}).to_0x_hex()


def refusal(ask):
    try:
        answer = ask()
    except Exception as error:
        rpc = (getattr(error, "rpc_response", None) or {}).get("error", {})
        return {"type": type(error).__name__, "code": rpc.get("code"), "text": rpc.get("message", error.args[0])}
    raise AssertionError(f"not refused: {answer}")


with w3.batch_requests() as batch:
    for data in MEMBERS:
        batch.add(w3.eth.call({"to": IDENTITY, "data": data}))
    members = batch.execute()
say(
    chain=w3.eth.chain_id,
    block=w3.eth.block_number,
    balance=str(w3.eth.get_balance(account.address)),
    call=call(SHA256, "0x616263"),
    members=[member.to_0x_hex() for member in members],
)

creation = {"from": account.address, "data": inputs["contract"], "value": 0, "chainId": w3.eth.chain_id}
creation |= {"nonce": w3.eth.get_transaction_count(account.address), "gasPrice": w3.eth.gas_price}
creation["gas"] = w3.eth.estimate_gas(creation)
sent = w3.eth.send_raw_transaction(account.sign_transaction(creation).raw_transaction)
receipt = w3.eth.wait_for_transaction_receipt(sent)
say(
    status=receipt["status"],
    result=call(receipt["contractAddress"], "0x"),
    nonce=w3.eth.get_transaction_count(account.address),
)
say(
    reverted=refusal(lambda: w3.eth.call({"data": inputs["reverting"]})),
    unknown=refusal(lambda: w3.manager.request_blocking("no_such_method", [])),
)
sys.stdin.readline()
say(call=call(SHA256, "0x616263"))
