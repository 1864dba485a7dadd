package listening

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// sharing listens as Caddy does.
func sharing(t testing.TB, address string) net.Listener {
	t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if ctlErr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }); ctlErr != nil {
			return ctlErr
		}
		return err
	}}
	l, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

const childEnv = "LISTENING_TEST_CHILD"

// TestChild is the other process of TestOthers: it listens until its input ends.
func TestChild(t *testing.T) {
	address := os.Getenv(childEnv)
	if address == "" {
		return // it is run on its own
	}
	fmt.Println(sharing(t, address).Addr())
	_, _ = os.Stdin.Read(make([]byte, 1))
}

func TestOthers(t *testing.T) {
	listener := sharing(t, "127.0.0.1:0")
	address := Address{"tcp", netip.MustParseAddrPort(listener.Addr().String())}
	if err := Others([]Address{address}); err != nil {
		t.Fatalf("with a listener of this process alone: %v", err)
	}

	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), childEnv+"="+address.String())
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var got string
	if _, err := fmt.Fscan(stdout, &got); err != nil || got != address.String() {
		t.Fatalf("the other process listens on %q, %v", got, err)
	}
	other := Address{"tcp", netip.AddrPortFrom(address.Addr(), address.Port()^1)}
	for name, addresses := range map[string][]Address{"that are told": {address}, "that it has open": nil, "other than the one that it has open": {other}} {
		err := Others(addresses)
		conflict := (*Conflict)(nil)
		if !errors.As(err, &conflict) || !strings.Contains(err.Error(), fmt.Sprintf("process %d, ", cmd.Process.Pid)) || !strings.Contains(err.Error(), "tcp/"+address.String()) {
			t.Errorf("for addresses %s: %v", name, err)
		}
	}
	_ = stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := Others([]Address{address}); err != nil {
		t.Errorf("after the end of the other process: %v", err)
	}
}

func TestParseAddress(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		return // the texts are those of a little-endian machine
	}
	for text, want := range map[string]string{
		"0100007F:1F90":                         "127.0.0.1:8080",
		"00000000:0050":                         "0.0.0.0:80",
		"00000000000000000000000001000000:01BB": "[::1]:443",
		"0000000000000000FFFF00000100007F:1F90": "[::ffff:127.0.0.1]:8080",
	} {
		if got, err := parseAddress(text); err != nil || got.String() != want {
			t.Errorf("parseAddress(%q) = %v, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", ":", "0100007F", "0100007F:", "0100007F:10000", "01007F:1F90", "x:1"} {
		if got, err := parseAddress(text); err == nil {
			t.Errorf("parseAddress(%q) = %v, want an error", text, got)
		}
	}
}

// FuzzParseTable: no text makes it panic, and what it takes are addresses.
func FuzzParseTable(f *testing.F) {
	f.Add("head\n   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 4711 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		found, err := parseTable(strings.NewReader(text), "tcp", "0A")
		for _, s := range found {
			if err == nil && !s.IsValid() {
				t.Errorf("parseTable(%q) = %v", text, found)
			}
		}
	})
}
