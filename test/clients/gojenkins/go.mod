module github.com/crumbgate/crumbgate/test/clients/gojenkins

go 1.26.0

require github.com/bndr/gojenkins v1.2.0

require golang.org/x/net v0.0.0-20210924151903-3ad01bbaa167 // indirect
