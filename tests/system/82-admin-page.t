#!/usr/bin/perl
# The admin page in a browser: tests/browser/page.mjs against the real programs.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my $packages = Psync::root() . '/build/npm';
my $page = Psync::root() . '/admin/web';
my $reason = Psync::npm_packages();
plan skip_all => $reason if defined $reason;
my ($chromium) = grep { -x } qw(/usr/bin/chromium /usr/bin/chromium-browser);

# ---- what is vendored is what the registry has ----

for my $pair (['preact.js', 'preact/dist/preact.mjs'], ['hooks.js', 'preact/hooks/dist/hooks.mjs'],
    ['htm.js', 'htm/dist/htm.module.js']) {
    my ($ours, $theirs) = @$pair;
    ok Psync::text_of("$page/vendor/$ours") eq Psync::text_of("$packages/node_modules/$theirs"),
        "vendor/$ours is the npm package's file";
}
my $lock = json->decode(Psync::text_of("$page/package-lock.json"))->{packages};
my $tests = json->decode(Psync::text_of(Psync::root() . '/tests/npm/package-lock.json'))->{packages};
is $lock->{"node_modules/$_"}{integrity}, $tests->{"node_modules/$_"}{integrity},
    "$_ is compared in the version that is locked" for qw(preact htm);

# ---- the page ----

my $port = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1')->sockport;
my $base = "http://127.0.0.1:$port";
my $rig = Psync->new(
    settings => {ADMIN_LISTEN => "127.0.0.1:$port", ADMIN_PUBLIC_URL => $base, LEASE_S => 10,
        STRIPE_CLIENT_ID => 'ca_sim0000000000000000000000000001',
        STRIPE_SECRET_KEY => 'sk_test_simplatform0000000000000001'},
    sim => [qw(--companies 60 --list-members 50 --contacts 40 --customers 30)],
);
$rig->{settings}{HUBSPOT_AUTHORIZE_URL} = "$rig->{hubspot}/oauth/authorize";
$rig->{settings}{STRIPE_AUTHORIZE_URL} = "$rig->{stripe}/oauth/v2/authorize";
$rig->start(qw(webhook-gw worker scheduler admin));
my $hubspot = $rig->connect_hubspot(hooks => 1);
my $stripe = $rig->connect_stripe(hooks => 1);
is $rig->run_now($_), 0, "$_ is synced" for qw(hubspot stripe);
wait_for('the admin program is ready', 20,
    sub { $rig->http('GET', "$base/readyz")->{status} == 200 });

my $r = HTTP::Tiny->new->get("$base/admin/integrations/1",
    {headers => {'Accept-Encoding' => 'gzip'}});
like $r->{headers}{'content-security-policy'}, qr/script-src 'self';.*frame-ancestors 'none'/,
    'the page runs its own files only';
my $bytes = length $r->{content};
for my $file ($rig->http('GET', "$base/")->{content} =~ m{(?:href|src)="(/web/[^"]+)"}g) {
    my $f = HTTP::Tiny->new->get("$base$file", {headers => {'Accept-Encoding' => 'gzip'}});
    is $f->{status}, 200, "$file is there";
    $bytes += length $f->{content};
    is(HTTP::Tiny->new->get("$base$file", {headers => {'Accept-Encoding' => 'gzip',
        'If-None-Match' => $f->{headers}{etag}}})->{status}, 304, 'and not sent twice');
}
cmp_ok $bytes, '<', 100 * 1024, "the page weighs under 100 KB ($bytes bytes)";

SKIP: {
    skip 'Chromium is not installed', 1 unless $chromium;
    my ($company) = map { $_->{record_id} } $rig->rows('select record_id from'
        . ' psync_bi.hubspot_company where in_scope order by record_id limit 1');
    my %token = map { $_ => $rig->must('token', 'create', '--role', $_, '--name', $_) =~ /(\S+)/ }
        qw(admin viewer);
    # Pictures are the test's output: build/screenshots, or all four of each screen into $SHOTS.
    my $shots = $ENV{SHOTS} // Psync::root() . '/build/screenshots';
    my %env = ($rig->environment, NPM_FOLDER => $packages, SIM_HUBSPOT => $rig->{hubspot},
        SIM_STRIPE => $rig->{stripe}, BASE => $base, DATABASE_URL => $rig->{database_url},
        SHOTS => $shots, SHOTS_ALL => $ENV{SHOTS} ? 1 : '', HUBSPOT => $hubspot, STRIPE => $stripe, COMPANY => $company,
        ADMIN_TOKEN => $token{admin}, VIEWER_TOKEN => $token{viewer}, CHROMIUM => $chromium,
        HOME => $rig->dir);
    Psync::node_script(\%env, 900, Psync::root() . '/tests/browser/page.mjs');
}
is $rig->stop('admin'), 0, 'the admin program ends well';
done_testing();
