package resp

import "testing"

func TestInlineRequestsAreSplitIntoWords(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"one word", "PING\r\n", `["PING"]`},
		{"a lone LF ends it", "PING\n", `["PING"]`},
		{"several words", "SET key value\r\n", `["SET" "key" "value"]`},
		{"spaces around and between", "  SET \t key   value \r\n", `["SET" "key" "value"]`},
		{"CR is a space", "ECHO a\rb\r\r\n", `["ECHO" "a" "b"]`},
		{"vertical tabs stand between words", "ECHO \v\fa\n", `["ECHO" "a"]`},
		{"vertical tabs do not end words", "ECHO a\vb\fc\v\n", `["ECHO" "a\vb\fc\v"]`},
		{"high bytes are no spaces", "ECHO \xa0\x85\n", `["ECHO" "\xa0\x85"]`},
		{"a backslash outside quotes", `ECHO a\nb\x41` + "\n", `["ECHO" "a\\nb\\x41"]`},
		{"a backslash and a space", `ECHO a\ b` + "\n", `["ECHO" "a\\" "b"]`},
		{"double quotes", `ECHO "a b"` + "\n", `["ECHO" "a b"]`},
		{"single quotes", `ECHO 'a b'` + "\n", `["ECHO" "a b"]`},
		{"empty quotes", `ECHO "" ''` + "\n", `["ECHO" "" ""]`},
		{"an empty name", `""` + "\n", `[""]`},
		{"quotes in quotes", `ECHO "'" '"'` + "\n", `["ECHO" "'" "\""]`},
		{"escapes", `ECHO "\n\r\t\b\a\\\"\q"` + "\n", `["ECHO" "\n\r\t\b\a\\\"q"]`},
		{"hexadecimal", `ECHO "\x41\xfF\x00"` + "\n", `["ECHO" "A\xff\x00"]`},
		{"not hexadecimal", `ECHO "\x4" "\xg1" "\x4g" "\x"` + "\n", `["ECHO" "x4" "xg1" "x4g" "x"]`},
		{"no escapes in single quotes", `ECHO '\n\x41\\ ' 'it\'s' '\\'s'` + "\n", `["ECHO" "\\n\\x41\\\\ " "it's" "\\'s"]`},
		{"parts of a word", `ECHO a"b c"d'e f'g ""x` + "\n", `["ECHO" "ab cde fg" "x"]`},
		{"quotes that follow quotes", `set """test-key""" value` + "\n", `["set" "test-key" "value"]`},
		{"line ends in quotes", "ECHO \"a\rb\"\r\n", `["ECHO" "a\rb"]`},
		{"high bytes in quotes", "ECHO \"\xff\xfe\"\n", `["ECHO" "\xff\xfe"]`},
		{"RESP3 types are words", "%1\r\n", `["%1"]`},
		{"an array behind a space is a word", " *1\r\n", `["*1"]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantTrace(t, tt.in, "~"+tt.want, &AfterAuth) })
	}
}

func TestInlineRequestsWithOpenQuotesAreRefused(t *testing.T) {
	for _, in := range []string{
		`ECHO "a`, `ECHO 'a`, `"`, `'`, `ECHO "a'`, `ECHO 'a"`, `ECHO "a\`, `ECHO 'a\'`, `ECHO "a\"`,
		`ECHO "a" "b`, `ECHO a"`, `ECHO "a\x4`, `ECHO """`, `ECHO "\\\"`,
	} {
		t.Run(in, func(t *testing.T) {
			wantTrace(t, in+"\r\n", "!Protocol error: unbalanced quotes in request", &AfterAuth)
		})
	}
}
