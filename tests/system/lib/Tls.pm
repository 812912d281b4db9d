# Certificates of a test: an authority, a server of these names, and an authority that nobody knows.
package Tls;
use strict;
use warnings;

use Psync;
use Test::More;

sub openssl {
    my ($code, $out, $err) = Psync::run_argv(undef, undef, 'openssl', @_);
    BAIL_OUT("openssl @_: $err") if $code != 0;
    return;
}

# Into dir: ca.crt, stranger.crt, server.crt and server.key; names: "DNS:localhost,IP:127.0.0.1".
sub make {
    my ($dir, $names) = @_;
    my @key = ('-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes');
    openssl('req', '-x509', @key, '-days', 2, '-subj', "/CN=$_", '-keyout', "$dir/$_.key", '-out',
        "$dir/$_.crt") for qw(ca stranger);
    openssl('req', @key, '-subj', '/CN=localhost', '-keyout', "$dir/server.key", '-out',
        "$dir/server.csr");
    open my $f, '>', "$dir/names" or die "'$dir/names': $!";
    print {$f} "subjectAltName=$names\n";
    close $f or die "'$dir/names': $!";
    openssl('x509', '-req', '-in', "$dir/server.csr", '-CA', "$dir/ca.crt", '-CAkey', "$dir/ca.key",
        '-CAcreateserial', '-days', 2, '-extfile', "$dir/names", '-out', "$dir/server.crt");
    chmod 0644, glob "$dir/*.crt";
    return;
}

# Can these programs speak TLS to Redis? (hiredis 1.0 and later.)
sub to_redis {
    my ($code) = Psync::run_argv({%ENV, PIVOTAL_SYNC_REDIS_URL => 'rediss://127.0.0.1:1'}, undef,
        Psync::bin() . '/pivotal-sync', 'queue', 'stats');
    return $code != 10;
}

1;
