package test

// served are the classes of a storm whose command families the proxy serves. It goes when that is all of them.
var served = []string{"counter", "pair", "slot", "spread", "big", "list", "shared", "multi", "watch", "queue", "evalsha", "pubsub", "shardpubsub", "scan"}

// allServed says that libraries which need transactions, blocking commands, pub/sub and scripts are run through the proxy, too. It
// goes, as true, together with served.
const allServed = true
