// viem as a client of the proxy: `viem_client.mjs requests|heads URL INPUTS`.
import {
  ExecutionRevertedError, MethodNotFoundRpcError, createPublicClient, createWalletClient, http, webSocket,
} from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { foundry } from "viem/chains";
import { IDENTITY, MEMBERS, SHA256, failure, next, say } from "./protocol.mjs";

const [mode, url, text] = process.argv.slice(2);
const { key, contract, reverting } = JSON.parse(text);

async function requests() {
  const transport = http(url, { batch: true, retryCount: 0 });
  const account = privateKeyToAccount(key);
  const client = createPublicClient({ chain: foundry, transport, pollingInterval: 50 });
  const wallet = createWalletClient({ account, chain: foundry, transport });
  const call = async (to, data) => (await client.call({ to, data })).data;
  const expected = (cause) => cause instanceof ExecutionRevertedError || cause instanceof MethodNotFoundRpcError;
  const refusal = (error) => ({
    type: error.walk(expected)?.name,
    code: error.walk((cause) => cause.code).code,
    text: error.details,
  });
  say({
    chain: await client.getChainId(),
    block: Number(await client.getBlockNumber()),
    balance: String(await client.getBalance({ address: account.address })),
    call: await call(SHA256, "0x616263"),
    members: await Promise.all(MEMBERS.map((data) => call(IDENTITY, data))),
  });

  const hash = await wallet.sendTransaction({ data: contract });
  const receipt = await client.waitForTransactionReceipt({ hash });
  say({
    status: receipt.status === "success" ? 1 : 0,
    result: await call(receipt.contractAddress, "0x"),
    nonce: await client.getTransactionCount({ address: account.address }),
  });
  say({
    reverted: await failure(client.call({ data: reverting }), refusal),
    unknown: await failure(client.request({ method: "no_such_method" }), refusal),
  });
  await next();
  say({ call: await call(SHA256, "0x616263") });
}

// The transport connects and subscribes again by itself.
async function heads() {
  const transport = webSocket(url.replace("https:", "wss:"), { reconnect: { delay: 50 } });
  const client = createPublicClient({ chain: foundry, transport });
  const onBlockNumber = (number) => say({ block: Number(number) });
  client.watchBlockNumber({ emitMissed: false, onBlockNumber, onError() {} });
  const { socket } = await client.transport.getRpcClient();
  socket.addEventListener("close", ({ code }) => say({ closed: code }));
  await next();
}

await (mode === "requests" ? requests() : heads());
process.exit();
