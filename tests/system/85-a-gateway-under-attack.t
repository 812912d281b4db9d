#!/usr/bin/perl
# Strangers hold connections open, drip bytes, send too much and frame requests in two ways, while
# deliveries go on: each of those is answered 200, memory stays bounded, and what was refused is
# counted by reason and logged at a bounded rate.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use IO::Select;
use IO::Socket::INET;
use Psync;
use Test::More;
use Time::HiRes qw(time);

my $long = $ENV{CHAOS};
my $slow = $long ? 1500 : 300;
my $rig = Psync->new(sim => [qw(--companies 0 --contacts 0 --customers 0)],
    settings => {WEBHOOK_MAX_BODY_BYTES => 65536, WEBHOOK_BUFFER_MAX_BYTES => 16 << 20,
        TRUSTED_PROXIES => '127.0.0.1'});
$rig->{settings}{METRICS_LISTEN} = "$rig->{dir}/metrics";
mkdir "$rig->{dir}/metrics";
$rig->start(qw(webhook-gw));
my $connection = $rig->connect_stripe;
my ($host) = $rig->gateway =~ m{//(.*)};
my $path = "/webhooks/stripe/$connection";

sub memory_kib {
    open my $f, '<', '/proc/' . $rig->pid('webhook-gw') . '/status' or return 0;
    my ($kib) = join('', <$f>) =~ /^VmRSS:\s+(\d+)/m;
    return $kib;
}

# One connection, these bytes, and what came back until the other side closed or was silent.
sub talk {
    my ($bytes, %o) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => $host) or return 'no connection';
    local $SIG{PIPE} = 'IGNORE';
    print {$socket} $bytes;
    $socket->flush;
    my $text = '';
    my $select = IO::Select->new($socket);
    while ($select->can_read($o{silence_s} // 3)) {
        sysread($socket, $text, 65536, length $text) or last;
        last if $o{answers} && (() = $text =~ m{^HTTP/1\.1 \d}mg) >= $o{answers};
    }
    return $text;
}

sub status { return $_[0] =~ m{^HTTP/1\.1 (\d+)} ? $1 : 'closed' }

my ($good, $worst_ms, $number) = (0, 0, 0);

sub deliver {
    my $body = $rig->stripe_event('customer.updated', {id => 'cus_' . ++$number,
        object => 'customer'});
    my $from = time;
    my $r = $rig->deliver_stripe($body);
    my $ms = (time - $from) * 1000;
    $worst_ms = $ms if $ms > $worst_ms;
    $good++ if $r->{status} == 200;
    return;
}

deliver() for 1 .. 5;
my $before_kib = memory_kib();

# ---- held open: no header, half a header, half a body ----
my @held;
for my $i (1 .. $slow) {
    my $socket = IO::Socket::INET->new(PeerAddr => $host) or last;
    my $kind = $i % 3;
    print {$socket} $kind == 0 ? "POST $path HTTP/1.1\r\nHost: x\r\n"
        : $kind == 1 ? "POST $path HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n{\"a\":"
        : '';
    $socket->flush;
    push @held, $socket;
    deliver() if $i % 30 == 0;
}
is scalar @held, $slow, "$slow connections are held open";
deliver() for 1 .. 20;
my $held_kib = memory_kib();

# ---- strangers who send nearly all of large bodies, and wait: a quarter of the room for each ----
my ($socket_path) = glob "$rig->{dir}/metrics/*";

sub figures { return `curl -s --max-time 10 --unix-socket '$socket_path' http://x/metrics` }

sub figure {
    my ($name) = @_;
    return figures() =~ /^pivotal_sync_\Q$name\E (\S+)/m ? $1 : 0;
}

sub hold_body {
    my ($address) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => $host) or return;
    print {$socket} "POST $path HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: $address\r\n"
        . "Content-Length: 65536\r\n\r\n" . ('x' x 65000);
    $socket->flush;
    push @held, $socket;
    return;
}
my $share = 'webhook_refused_total{reason="bodies_of_one_address"}';
hold_body('203.0.113.7') for 1 .. 90;
wait_for('bodies past the share of one address are refused', 20, sub { figure($share) >= 20 });
my $room = figure('webhook_body_bytes');
cmp_ok $room, '<', (6 << 20) + 4096 * $slow, sprintf 'they hold %.1f of 16 MiB', $room / (1 << 20);
hold_body(sprintf '2001:db8:1:2::%x', $_) for 1 .. 90;
wait_for('those of one IPv6 network too', 20, sub { figure($share) >= 40 });
cmp_ok figure('webhook_body_bytes'), '<', (11 << 20) + 4096 * $slow, 'whatever addresses they take in it';
deliver() for 1 .. 10;

# ---- /readyz tells strangers no more than which check ----
my $ready = $rig->http('GET', $rig->gateway . '/readyz?verbose');
like $ready->{content}, qr/connections, read \d+ ms ago/, 'this machine is told why';
$ready = $rig->http('GET', $rig->gateway . '/readyz?verbose',
    headers => {'X-Forwarded-For' => '203.0.113.7'});
like $ready->{content}, qr/"routes":\{"ok":true/, 'a stranger sees the checks';
unlike $ready->{content}, qr/"reason":"[^"]/, 'and no reasons';

# ---- framed in two ways, or not at all ----
my $head = "POST $path HTTP/1.1\r\nHost: x\r\n";
my $smuggled = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
my %forms = (
    'a length and chunks' => "${head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n$smuggled",
    'chunks and a length' => "${head}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n$smuggled",
    'two lengths' => "${head}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello$smuggled",
    'a length that is a list' => "${head}Content-Length: 5, 6\r\n\r\nhello$smuggled",
    'a length below zero' => "${head}Content-Length: -1\r\n\r\n$smuggled",
    'a length with a plus' => "${head}Content-Length: +5\r\n\r\nhello$smuggled",
    'a length past 64 bits' => "${head}Content-Length: 99999999999999999999999\r\n\r\nx",
    'a coding nobody knows' => "${head}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n$smuggled",
    'a coding twice' => "${head}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n$smuggled",
    'a blank before the colon' => "${head}Transfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n$smuggled",
    'a chunk that is no number' => "${head}Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    'a chunk past 64 bits' => "${head}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff1\r\nhello",
);
for my $name (sort keys %forms) {
    my $text = talk($forms{$name}, silence_s => 1);
    unlike $text, qr/^HTTP\S+ 200/m, "$name: nothing in it is answered 200"
        or diag($text);
}

# ---- too much ----
is status(talk("${head}X: " . ('x' x 50_000) . "\r\n\r\n")), 431, 'oversized headers are 431';
is status(talk("${head}Content-Length: 3000000\r\n\r\n" . ("x" x 70_000))), 413,
    'an oversized body is 413';
is status(talk("${head}Transfer-Encoding: chunked\r\n\r\n" . ("4000\r\n" . ('x' x 16384) . "\r\n") x 6
    . "0\r\n\r\n")), 413, 'one that grows by chunks as well';
is status(talk('GET /' . ('a' x 20_000) . " HTTP/1.1\r\nHost: x\r\n\r\n")) =~ /^4(14|31)$/ ? 1 : 0, 1,
    'an endless path is 414 or 431';

# ---- many in one piece; nonsense ----
my $many = talk("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" x 50, answers => 50);
is scalar(() = $many =~ m{^HTTP/1\.1 200}mg), 50, 'fifty requests in one piece get fifty answers';
unlike talk("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" . ("\xff" x 200) . "\r\n\r\n",
    silence_s => 1), qr/ 200 /, 'a TLS hello is no request';

# ---- signed, and still nonsense: whoever has the secret cannot break it either ----
my $gzip = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" . ("\x00" x 1000);
my %bodies = (
    'a compressed body' => $gzip,
    'bad UTF-8' => "{\"id\":\"evt_\xff\xfe\",\"object\":\"event\"",
    'JSON 20,000 deep' => ('[' x 20_000) . (']' x 20_000),
    'an endless string' => '{"id":"' . ('x' x 60_000),
);
for my $name (sort keys %bodies) {
    is $rig->deliver_stripe($bodies{$name})->{status}, 400, "$name, signed: 400";
}
is $rig->deliver_stripe('{"id":"evt_a","id":"evt_b","object":"event","type":"customer.updated",'
    . '"type":"customer.updated","created":1,"data":{"object":{"id":"cus_x","id":"cus_y"}}}')->{status},
    200, 'keys given twice, signed: 200';
deliver() for 1 .. 20;

# ---- what is left of it ----
my $after_kib = memory_kib();
is $good, $number, "all $number deliveries in between were answered 200";
note(sprintf 'slowest %.0f ms; memory %.1f MiB before, %.1f with %d connections held, %.1f after',
    $worst_ms, $before_kib / 1024, $held_kib / 1024, $slow, $after_kib / 1024);
cmp_ok $after_kib - $before_kib, '<', 24 * $slow + 16384, 'memory is bounded';

wait_for('bodies at a trickle were cut', 30,
    sub { figure('webhook_refused_total{reason="trickling_body"}') >= 50 });
my $figures = figures();
for my $reason (qw(ambiguous_framing too_large bodies_of_one_address trickling_body)) {
    like $figures, qr/webhook_refused_total\{reason="$reason"\} [1-9]/, "$reason is counted";
}
wait_for('a line in the log says so', 15, sub { $rig->log_text('webhook-gw') =~ /http\.refused/ });
my $lines = () = $rig->log_text('webhook-gw') =~ /http\.refused|webhook\.refused/g;
cmp_ok $lines, '<', 40, "and not one for each ($lines)";
close $_ for @held;
deliver();
is $good, $number, 'and the next delivery is answered';
is $rig->stop('webhook-gw'), 0, 'SIGTERM ends it with 0';
done_testing;
