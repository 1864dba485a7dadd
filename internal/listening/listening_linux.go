package listening

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A socket is a line of /proc/net/tcp and its like (proc_net_tcp(5)).
type socket struct {
	Address
	uid   string
	inode string
}

// Others returns a *Conflict for the first socket of another process on one of the
// addresses, or on an address on which this process listens already. It returns nil if
// there is none, and another error if that can't be found out.
//
// Sockets of other users don't count: the kernel lets only processes of one user share
// an address, and refuses the second one by itself.
func Others(addresses []Address) error {
	all, err := sockets()
	if err != nil {
		return err
	}
	own, err := ownInodes()
	if err != nil {
		return err
	}
	uid := strconv.Itoa(os.Geteuid())
	for _, s := range all {
		if own[s.inode] && s.Network == "tcp" {
			addresses = append(slices.Clip(addresses), s.Address)
		}
	}
	for _, s := range all {
		if own[s.inode] || s.uid != uid {
			continue
		}
		if slices.ContainsFunc(addresses, s.overlap) {
			return &Conflict{s.Address, holder(s.inode)}
		}
	}
	return nil
}

// sockets returns all listeners of the network namespace.
func sockets() ([]socket, error) {
	const listen, bound = "0A", "07" // states of TCP, and of UDP without a peer
	var all []socket
	for _, table := range []struct{ file, network, state string }{
		{"tcp", "tcp", listen}, {"tcp6", "tcp", listen}, {"udp", "udp", bound}, {"udp6", "udp", bound},
	} {
		file, err := os.Open("/proc/net/" + table.file)
		if errors.Is(err, fs.ErrNotExist) && strings.HasSuffix(table.file, "6") {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, err
		}
		found, err := parseTable(file, table.network, table.state)
		_ = file.Close() // it was only read
		if err != nil {
			return nil, fmt.Errorf("reading /proc/net/%s: %w", table.file, err)
		}
		all = append(all, found...)
	}
	return all, nil
}

func parseTable(r io.Reader, network, state string) ([]socket, error) {
	var found []socket
	lines := bufio.NewScanner(r)
	lines.Scan() // the head
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 10 {
			return nil, fmt.Errorf("a line of %d fields", len(f))
		}
		if f[3] != state {
			continue
		}
		address, err := parseAddress(f[1])
		if err != nil {
			return nil, err
		}
		found = append(found, socket{Address{network, address}, f[7], f[9]})
	}
	return found, lines.Err()
}

// parseAddress reads an address such as 0100007F:1F90: words of four bytes in the order
// of the machine, and the port.
func parseAddress(text string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(text, ":")
	b, err := hex.DecodeString(host)
	n, portErr := strconv.ParseUint(port, 16, 16)
	if err != nil || portErr != nil || len(b) != 4 && len(b) != 16 {
		return netip.AddrPort{}, fmt.Errorf("the address %q", text)
	}
	for word := b; len(word) > 0; word = word[4:] {
		binary.NativeEndian.PutUint32(word, binary.BigEndian.Uint32(word))
	}
	addr, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(addr, uint16(n)), nil
}

// ownInodes returns the inodes of this process's sockets.
func ownInodes() (map[string]bool, error) {
	return socketInodes("/proc/self/fd")
}

func socketInodes(dir string) (map[string]bool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	inodes := make(map[string]bool)
	for _, entry := range entries {
		target, err := os.Readlink(filepath.Join(dir, entry.Name()))
		if inode, ok := strings.CutPrefix(target, "socket:["); err == nil && ok {
			inodes[strings.TrimSuffix(inode, "]")] = true
		}
	}
	return inodes, nil
}

// holder describes the process that has a socket. Those of other PID namespaces, such as
// neighbouring containers that share the network, can't be seen.
func holder(inode string) string {
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return "another process"
	}
	for _, process := range processes {
		if inodes, err := socketInodes(process + "/fd"); err != nil || !inodes[inode] {
			continue
		}
		name := "process " + filepath.Base(process)
		if comm, err := os.ReadFile(process + "/comm"); err == nil {
			name += fmt.Sprintf(", %q,", strings.TrimSpace(string(comm)))
		}
		return name
	}
	return "another process"
}
