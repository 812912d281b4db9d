#!/usr/bin/perl
# The gateway beside nginx: deliveries of 700 bytes, each signed and different, verified, queued
# durably (appendfsync always) and answered. nginx answers the same requests with nothing.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin, "$FindBin::Bin/../system/lib";
use Bench qw(row rate runs rss_kb forget_peak most_mb absent have free_port);
use Digest::SHA qw(hmac_sha256_base64 hmac_sha256_hex);
use Psync;
use Time::HiRes qw(time sleep);

use constant {CONNECTIONS => 64, SECONDS => 4, DELIVERIES => 20000};

have('wrk') or do { absent('gateway', 'no wrk'); exit 0 };

my $rig = Psync->new(sim => ['--companies', 10, '--customers', 10]);
$rig->start('webhook-gw');
my $connection = $rig->connect_stripe;
$rig->connect_hubspot;
my $path = "/webhooks/stripe/$connection";

# PER_S: so many a second of all connections together, each after a wait of its own.
sub lua { # NAME, URL path, body header pairs, PER_S
    my ($name, $path, $make, $per_s) = @_;
    my $file = "$rig->{dir}/$name.lua";
    open my $f, '>', $file or die "open '$file': $!";
    print $f "local r, i = {}, 0\n";
    for my $n (1 .. DELIVERIES) {
        my ($body, %headers) = $make->($n);
        my $h = join ',', map { qq(["$_"]="$headers{$_}") } sort keys %headers;
        print $f qq{r[$n] = {[==[$body]==], {$h}}\n};
    }
    printf $f "function delay() return math.random(0, %d) end\n", 2000 * CONNECTIONS / $per_s if $per_s;
    print $f <<"EOT";
function request()
    i = i % #r + 1
    return wrk.format("POST", "$path", r[i][2], r[i][1])
end
function done(summary, latency)
    io.write(string.format("RESULT %f %f %f %d\\n", summary.requests / summary.duration * 1e6,
        latency:percentile(50) / 1000, latency:percentile(99) / 1000,
        summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout))
end
EOT
    close $f;
    return $file;
}
sub load {
    my ($file, $url) = @_;
    my $out = `wrk -t1 -c@{[CONNECTIONS]} -d@{[SECONDS]}s --timeout 10s -s $file $url`;
    my @v = $out =~ /RESULT (\S+) (\S+) (\S+) (\S+)/ or die "wrk: $out";
    die "$v[3] of the answers were not 200\n" if $v[3];
    return @v;
}

my $sequence = 0;
my $stripe = sub {
    my ($n) = @_;
    my $body = sprintf '{"id":"evt_%d_%d","object":"event","api_version":"2026-10-28.endive","created":%d,'
        . '"livemode":false,"type":"customer.updated","data":{"object":{"id":"cus_%08d","object":'
        . '"customer","name":"%s"}},"pending_webhooks":1,"request":{"id":null}}', $$, ++$sequence,
        time, $n, 'x';
    $body =~ s/"x"/'"' . 'x' x (701 - length $body) . '"'/e;
    my $t = int time;
    return ($body, 'Content-Type' => 'application/json',
        'Stripe-Signature' => "t=$t,v1=" . hmac_sha256_hex("$t.$body", Psync::STRIPE_SECRET));
};
my $events = sub {
    my ($n) = @_;
    my $t = int(time * 1000);
    my $body = '[' . join(',', map {
        sprintf '{"eventId":%d,"subscriptionId":1,"portalId":%d,"appId":1160452,"occurredAt":%d,'
            . '"subscriptionType":"company.propertyChange","attemptNumber":0,"objectId":%d,'
            . '"propertyName":"name","propertyValue":"x","changeSource":"CRM"}', ++$sequence,
            Psync::PORTAL, $t, $n % 200 * 100 + $_ } 1 .. 100) . ']';
    my $signed = "POST$rig->{gateway}/webhooks/hubspot$body$t";
    my $signature = hmac_sha256_base64($signed, Psync::HUBSPOT_SECRET);
    $signature .= '=' while length($signature) % 4;
    return ($body, 'Content-Type' => 'application/json', 'X-HubSpot-Request-Timestamp' => $t,
        'X-HubSpot-Signature-v3' => $signature);
};

# ---- nginx, answering with nothing ----
my $nginx;
if (have('nginx')) {
    my $port = free_port();
    my $dir = "$rig->{dir}/nginx";
    mkdir $dir;
    open my $f, '>', "$dir/nginx.conf" or die;
    print $f "worker_processes 1; daemon off; pid $dir/pid; error_log $dir/error.log;\n"
        . "events { worker_connections 1024; }\nhttp { access_log off; client_body_temp_path $dir/body;\n"
        . "keepalive_requests 1000000; server { listen 127.0.0.1:$port; location / { return 200; } } }\n";
    close $f;
    $rig->{pids}{nginx} = $rig->spawn('nginx', ['nginx', '-p', $dir, '-c', "$dir/nginx.conf"]);
    $nginx = "http://127.0.0.1:$port";
    Psync::until_true(10, sub { $rig->http('GET', $nginx)->{status} == 200 }) or die 'nginx does not start';
}

# ---- what is taken ----
my $pid = $rig->{pids}{'webhook-gw'};
my (%got, %events, @paced);
forget_peak($pid);
sub taken {
    my ($got, $each, @lua) = @_;
    my $before = $rig->cpu_s($pid);
    my @v = load(lua(@lua), $rig->{gateway});
    push @{$got->{rate}}, $v[0] * $each;
    push @{$got->{cpu}}, ($rig->cpu_s($pid) - $before) / ($v[0] * SECONDS * $each) * 1e6;
    push @{$got->{mb}}, most_mb($rig, $pid);
    push @{$got->{p99}}, $v[2];
    $rig->redis('flushall');
    return;
}
for (1 .. runs()) {
    taken(\my %slow, 1, 'paced', $path, $stripe, 1000);
    push @paced, $slow{p99}[0];
    taken(\%got, 1, 'stripe', $path, $stripe);
    next unless $nginx;
    my $before = $rig->cpu_s($rig->pid('nginx'));
    push @{$got{nginx}{rate}}, my $rate = (load("$rig->{dir}/stripe.lua", $nginx))[0];
    push @{$got{nginx}{cpu}}, ($rig->cpu_s($rig->pid('nginx')) - $before) / ($rate * SECONDS) * 1e6;
    push @{$got{nginx}{mb}}, most_mb($rig, $rig->pid('nginx'));
}
rate('gateway.stripe', 'deliveries/s', undef, \%got);
if ($nginx) {
    rate('gateway.nginx', 'requests/s', undef, $got{nginx});
    row('gateway.stripe_to_nginx', 'ratio', ['>=', 0.40],
        map { $got{rate}[$_] / $got{nginx}{rate}[$_] } 0 .. $#{$got{rate}});
}
else {
    absent('gateway.stripe_to_nginx', 'no nginx');
}
row('gateway.stripe_p99_saturated', 'ms', ['<=', 15], @{$got{p99}});
row('gateway.stripe_p99_1000_a_second', 'ms', ['<=', 2], @paced);
row('gateway.rss', 'MB', ['<=', 10], rss_kb($pid) / 1024);
taken(\%events, 100, 'hubspot', '/webhooks/hubspot', $events) for 1 .. runs();
rate('gateway.hubspot_arrays_of_100', 'events/s', ['>=', 60000], \%events);
