// ethers as a client of the proxy: `ethers_client.mjs requests|heads URL INPUTS`.
import { JsonRpcProvider, Wallet, WebSocketProvider } from "ethers";
import { IDENTITY, MEMBERS, SHA256, failure, next, say } from "./protocol.mjs";

const [mode, url, text] = process.argv.slice(2);
const { key, contract, reverting } = JSON.parse(text);

async function requests() {
  const provider = new JsonRpcProvider(url);
  const wallet = new Wallet(key, provider);
  const call = (to, data) => provider.call({ to, data });
  const refusal = ({ code: type, error, info }) => {
    const { code, message: text } = error ?? info.error;
    return { type, code, text };
  };
  say({
    chain: Number((await provider.getNetwork()).chainId),
    block: await provider.getBlockNumber(),
    balance: String(await provider.getBalance(wallet.address)),
    call: await call(SHA256, "0x616263"),
    members: await Promise.all(MEMBERS.map((data) => call(IDENTITY, data))),
  });

  const receipt = await (await wallet.sendTransaction({ data: contract })).wait();
  say({
    status: receipt.status,
    result: await call(receipt.contractAddress, "0x"),
    nonce: await provider.getTransactionCount(wallet.address),
  });
  say({
    reverted: await failure(provider.call({ data: reverting }), refusal),
    unknown: await failure(provider.send("no_such_method", []), refusal),
  });
  await next();
  say({ call: await call(SHA256, "0x616263") });
}

// A provider ends with its connection: making a new one is the program's business.
function watch() {
  const provider = new WebSocketProvider(url.replace("https:", "wss:"));
  provider.on("block", (number) => say({ block: number }));
  provider.websocket.onclose = ({ code }) => {
    say({ closed: code });
    watch();
  };
}

async function heads() {
  watch();
  await next();
}

await (mode === "requests" ? requests() : heads());
process.exit();
