package boltstore

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// lockHolder describes the process that has locked the file, for an error
// message, or returns "". It knows the process from /proc/locks (proc_locks(5)):
//
//	1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234567 0 EOF
//
// The file is found there by its inode alone, since the device is not the one of
// stat on btrfs and overlayfs. A process of another PID namespace, such as a
// neighbouring container, has the PID 0 or is missing.
func lockHolder(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return ""
	}
	defer locks.Close()

	inode := ":" + strconv.FormatUint(stat.Ino, 10)
	for lines := bufio.NewScanner(locks); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) < 6 || f[1] != "FLOCK" || !strings.HasSuffix(f[5], inode) || f[4] == "0" {
			continue
		}
		if f[4] == strconv.Itoa(os.Getpid()) {
			return "this very process"
		}
		comm, err := os.ReadFile("/proc/" + f[4] + "/comm")
		if err != nil {
			return "process " + f[4]
		}
		return fmt.Sprintf("process %s, %q", f[4], strings.TrimSpace(string(comm)))
	}
	return ""
}
