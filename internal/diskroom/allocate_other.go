//go:build !linux

package diskroom

import "os"

func allocate(*os.File, int64, int64, bool) error { return ErrUnsupported }
