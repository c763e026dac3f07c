package resp

// Limits bounds what one request may be. A request over a limit is a protocol
// error and ends the connection. The zero value refuses nearly everything.
type Limits struct {
	Args   int // arguments of an array request, the command's name included
	Bulk   int // bytes of one argument of an array request
	Inline int // bytes of an inline request or of a header line, without its end
	Query  int // bytes of one whole request as it is on the wire

	// Unauthenticated chooses the server's words for a client which has not
	// logged in yet and is over a limit that only such clients have.
	Unauthenticated bool
}

// BeforeAuth is for clients that still have to log in: strangers. The first two
// are Valkey's own; a login fits in far less than the other two.
var BeforeAuth = Limits{
	Args:            10,       // Valkey
	Bulk:            16 << 10, // Valkey
	Inline:          1 << 10,  // "AUTH user password" typed by hand
	Query:           64 << 10, // four of the ten arguments at their limit; HELLO with AUTH and SETNAME needs < 1 KiB
	Unauthenticated: true,
}

// AfterAuth is for clients that are logged in or need not be.
var AfterAuth = Limits{
	Args:   1 << 20,  // the bound Redis documents; Valkey takes 2^31-1, no client sends them
	Bulk:   maxBulk,  // Valkey's proto-max-bulk-len
	Inline: 64 << 10, // Valkey's PROTO_INLINE_MAX_SIZE
	Query:  1 << 30,  // Valkey's client-query-buffer-limit
}

// Admin is for the commands of the admin listener. They name nodes and slot
// ranges: 2000 ranges at 12 bytes fit. One of them takes a plan: 16384 slots and
// the shares of 1000 nodes before and after are half a megabyte of JSON.
var Admin = Limits{
	Args:   4096,
	Bulk:   1 << 20,
	Inline: 16 << 10,
	Query:  1<<20 + 128<<10,
}

const (
	// maxBulk is what Valkey calls an invalid length whoever asks (the default of
	// proto-max-bulk-len).
	maxBulk = 512 << 20

	// maxCount is what Valkey calls an invalid argument count whoever asks (INT_MAX).
	maxCount = 1<<31 - 1

	// keepArgs and keepText bound what a parser keeps for the next request. Longer
	// ones are rare; an MSET of 500 keys still costs no allocation.
	keepArgs = 1 << 10
	keepText = 1 << 10
)
