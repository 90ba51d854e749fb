<?php
// Reads and writes values by php-memcached, for tests: the same lines as the Rust client's example `exchange`, and kinds
// that only PHP has. Arguments: `zlib` or `default`, the compression; then servers, each `host:port=weight`.

[$compression, $servers] = [$argv[1], array_slice($argv, 2)];
$client = new Memcached();
$client->setOption(Memcached::OPT_LIBKETAMA_COMPATIBLE, true);
if ($compression === 'zlib') {
    $client->setOption(Memcached::OPT_COMPRESSION_TYPE, Memcached::COMPRESSION_ZLIB);
}
foreach ($servers as $server) {
    [$address, $weight] = explode('=', $server);
    [$host, $port] = explode(':', $address);
    $client->addServer($host, (int) $port, (int) $weight);
}

function value(string $kind, string $text): mixed
{
    return match ($kind) {
        'bytes', 'text' => $text,
        'integer' => (int) $text,
        'double' => (float) $text,
        'boolean' => $text === 'true',
        'list' => explode(',', $text),
    };
}

function answer(mixed $value): string
{
    return match (gettype($value)) {
        'string' => "bytes $value",
        'integer' => "integer $value",
        'double' => 'double ' . json_encode($value),
        'boolean' => 'boolean ' . json_encode($value),
        'array' => 'list ' . implode(',', $value),
    };
}

while (($line = fgets(STDIN)) !== false) {
    [$verb, $key, $kind, $text] = explode(' ', rtrim($line, "\n"), 4) + [2 => '', 3 => ''];
    if ($verb === 'set') {
        $done = $client->set($key, value($kind, $text));
        echo $done ? 'stored' : 'error ' . $client->getResultMessage(), "\n";
        continue;
    }
    $value = $client->get($key);
    $code = $client->getResultCode();
    echo match ($code) {
        Memcached::RES_SUCCESS => answer($value),
        Memcached::RES_NOTFOUND => 'miss',
        default => 'error ' . $client->getResultMessage(),
    }, "\n";
}
