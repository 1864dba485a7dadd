package blackbox_test

import (
	"time"

	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

func deadline() time.Time { return time.Now().Add(gatewaytest.Patience) }
