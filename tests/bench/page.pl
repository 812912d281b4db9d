#!/usr/bin/perl
# The admin page: what it weighs, when its first byte comes, and how fast a filtered log answers
# out of a million attempts, through the API as the page asks it.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin, "$FindBin::Bin/../system/lib";
use Bench qw(row runs rig);
use HTTP::Tiny;
use IO::Socket::INET;
use Psync;
use Time::HiRes qw(time);

my $port = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1')->sockport;
my $base = "http://127.0.0.1:$port";
my $rig = rig(sim => [qw(--companies 20 --list-members 20 --contacts 0),
    '--customers', 1], settings => {ADMIN_LISTEN => "127.0.0.1:$port"});
$rig->start(qw(webhook-gw scheduler worker admin));
my $connection = $rig->connect_hubspot;
$rig->run_now('hubspot') == 0 or die "the first full sync does not succeed\n";
my ($token) = $rig->must('token', 'create', '--role', 'viewer') =~ /(\S+)/;
Psync::until_true(20, sub { $rig->http('GET', "$base/readyz")->{status} == 200 })
    or die "the admin program is not ready\n";

# ---- the page ----

my $http = HTTP::Tiny->new(keep_alive => 1, timeout => 60);
my %packed = (headers => {'Accept-Encoding' => 'gzip'});
my $page = $http->get("$base/admin/integrations", {%packed});
my $bytes = length $page->{content};
for my $file ($http->get("$base/")->{content} =~ m{(?:href|src)="(/web/[^"]+)"}g) {
    $bytes += length $http->get("$base$file", {%packed})->{content};
}
row('page_compressed', 'KB', ['<=', 100], $bytes / 1024);

# ---- a million attempts, of which one in forty failed, five causes ----

$rig->value(qq{insert into psync.attempt (attempt_id, connection_id, kind, trigger, object_type,
    record_id, status, error_code, error_field, duration_ms, started_at)
    select psync.attempt_floor(t) + i % 1000, $connection, 'record',
        case when i % 3 = 0 then 'nightly' else 'webhook' end, 'company', (i % 5000)::text,
        case when i % 40 = 0 then 'failed' else 'succeeded' end, case when i % 40 = 0
            then (array['provider_error', 'timeout', 'map_type_mismatch', 'rate_limited',
                'record_not_found'])[1 + i / 40 % 5] else '' end,
        '', i % 900, t
    from (select i, now() - interval '6 days' * i / 1000000 as t
        from generate_series(1, 1000000) i) x on conflict do nothing});
$rig->value('analyze psync.attempt');

sub first_byte_ms {
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or die $!;
    my $began = time;
    print {$socket} "GET /admin/integrations HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    sysread $socket, my $byte, 1;
    return (time - $began) * 1000;
}
sub asked_ms {
    my ($path) = @_;
    my $began = time;
    my $r = $http->get("$base/api/v1$path", {headers => {Authorization => "Bearer $token"}});
    $r->{status} == 200 or die "$path: $r->{status} $r->{content}\n";
    return (time - $began) * 1000;
}
first_byte_ms();
row('page_first_byte_1M', 'ms', ['<=', 100], map { first_byte_ms() } 1 .. runs());
for my $case (['log_page', 'attempts?limit=50'], ['log_errors_only', 'attempts?errors=1&limit=50'],
    ['log_one_code', 'attempts?errors=1&code=timeout&last=7d&limit=50'],
    ['log_one_record', 'attempts?record=777&limit=50'],
    ['log_nightly_failed', 'attempts?trigger=nightly&status=failed&limit=50'],
    ['log_errors_count', 'attempts/summary?errors=1'],
    ['log_errors_by_cause', 'attempts/summary?errors=1&group=1']) {
    my ($name, $path) = @$case;
    $path = "/$path&connection=$connection";
    asked_ms($path);
    row("${name}_1M", 'ms', ['<=', 300], map { asked_ms($path) } 1 .. runs());
}
