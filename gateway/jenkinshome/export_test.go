package jenkinshome

// AESKey is how Jenkins makes a key of a text, for tests that encrypt.
var AESKey = aesKey
