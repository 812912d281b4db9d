#!/usr/bin/perl
# What nobody could confirm of HubSpot may be one way or the other: the mirror ends right under
# each reading, and under each family of paths.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use IO::Socket::INET;
use Psync;
use Test::More;

my ($yes, $no) = (JSON::PP::true, JSON::PP::false);
my $rig;
my $turn = 0;

# Every live member and each of their contacts, as HubSpot has them.
sub equal {
    my $truth = join "\n", sort map { "$_->{id} " . ($_->{properties}{name} // '') }
        @{$rig->sim_hubspot(GET => 'companies?list=42')};
    my $people = join ',', sort @{$rig->sim_hubspot(GET => 'contacts?companies_of=42&ids=1')};
    return $truth eq join("\n", sort split /\n/, $rig->value(q{select record_id || ' ' ||
            coalesce(name, '') from psync_bi.hubspot_company
            where in_scope and deleted_at is null}))
        && $people eq join(',', sort split /\n/, $rig->value('select record_id
            from psync_bi.hubspot_contact where in_scope and deleted_at is null'));
}

sub company {
    my ($name) = @_;
    return $rig->sim_hubspot(POST => 'companies', {lists => ['42'],
        properties => {name => $name, domain => lc($name) . '.example'}})->{id};
}

sub scenario {
    my ($what) = @_;
    $turn++;
    my @ids = map { company("T$turn$_") } 'a' .. 'f';
    my @people = map { $rig->sim_hubspot(POST => 'contacts', {properties => {firstname => "P$_"},
        associations => {companies => [$_]}})->{id} } @ids;
    wait_for("$what: new companies and contacts", 20, \&equal);
    $rig->sim_hubspot(PATCH => "companies/$ids[0]", {properties => {name => "T$turn changed"}});
    $rig->sim_hubspot(DELETE => "companies/$ids[1]");
    $rig->sim_hubspot(DELETE => "companies/$ids[2]");
    $rig->sim_hubspot(POST => 'companies/merge', {primary => $ids[3], merged => [$ids[4]]});
    $rig->sim_hubspot(POST => 'associations', {from => 'companies', from_id => $ids[5],
        to => 'contacts', to_id => $people[0], remove => $no});
    wait_for("$what: all worked", 20, sub { $rig->idle });
    is $rig->run_now('hubspot'), 0, "$what: a full sync succeeds";
    wait_for("$what: the mirror equals HubSpot", 20, \&equal);
    is $rig->value("select count(*) from psync.record where record_id = '$ids[4]'
        and object_type = 'company' and deleted_at is null"), 0, "$what: the merged one is gone";
    is $rig->value(q{select count(*) from psync_bi.completeness where difference <> 0}), 0,
        "$what: counts agree";
    return;
}

my @readings = (
    # [version of the paths, what is switched in the simulator, what in its deliveries]
    ['2026-03', {}, {}],
    ['2026-03', {associations_batch_max => 1000, search_body_max => 0, retry_after_on_429 => $yes}],
    ['2026-03', {search_window_max => 1000, merged_reads => 'winner'}],
    ['2026-03', {merge_new_id => $yes, batch_missing => 'absent'}],
    ['2026-03', {associations_missing => '207', association_ids => 'string'}],
    ['2026-03', {webhooks_calculated => $yes, token_bucket => $yes}],
    ['2026-03', {}, {retry_new_ids => $yes, retry_old_timestamp => $no}],
    ['2026-03', {}, {retry_new_ids => $no, retry_old_timestamp => $yes}],
    ['2026-09', {v2026_09_207 => $yes, v2026_09_associations => $yes}],
    ['2026-09', {v2026_09_207 => $no, v2026_09_associations => $no, batch_missing => 'absent'}],
    ['v3', {}],
);
my $port = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1')->sockport;
my $admin = "http://127.0.0.1:$port";
$rig = Psync->new(sim => [qw(--companies 30 --list-members 20 --contacts 40 --customers 0)],
    settings => {ADMIN_LISTEN => "127.0.0.1:$port", ADMIN_PUBLIC_URL => $admin});
$rig->{settings}{HUBSPOT_AUTHORIZE_URL} = "$rig->{hubspot}/oauth/authorize";
my @programs = qw(webhook-gw scheduler worker);
my $version = '';
for my $reading (@readings) {
    my ($paths, $switches, $hooks) = @$reading;
    if ($paths ne $version) {
        $rig->stop($_) for grep { $version ne '' } reverse @programs;
        $rig->{settings}{HUBSPOT_API_VERSION} = $version = $paths;
        $rig->start(@programs);
        $rig->connect_hubspot(hooks => 1);
        is $rig->run_now('hubspot'), 0, "paths of $version: a full sync succeeds";
    }
    my $before = $rig->sim_hubspot(GET => '')->{settings};
    $rig->sim_hubspot(PATCH => '', {settings => $switches});
    $rig->sim(POST => 'webhooks/config', {hubspot => $hooks, retry_factor => 0.0001}) if $hooks;
    my $now = $rig->sim_hubspot(GET => '')->{settings};
    is $now->{$_}, $switches->{$_}, "the simulator reads $_ so" for sort keys %$switches;
    scenario(join ' ', "paths of $version", map({ "$_ $switches->{$_}" } sort keys %$switches),
        map { "$_ $hooks->{$_}" } sort keys %{$hooks // {}});
    $rig->sim_hubspot(PATCH => '', {settings => {map { ($_ => $before->{$_}) }
        grep { defined $before->{$_} } keys %$switches}});
}

# ---- one request with events of several accounts, words nobody listed, either name of the type ----
my @ids = @{$rig->sim_hubspot(GET => 'companies?list=42&ids=1')};
$rig->sim_hubspot(PATCH => "companies/$ids[$_]", {properties => {name => "Mixed $_"}, notify => $no})
    for 0 .. 2;
is $rig->deliver_hubspot($rig->hubspot_events(
    {portalId => 7654321, objectId => 1},
    {objectId => $ids[0] + 0, changeSource => 'SOMETHING_NEW', changeFlag => 'NEVER_SEEN'},
    {objectId => $ids[1] + 0, subscriptionType => undef, eventType => 'company.propertyChange'},
    {objectId => $ids[2] + 0, subscriptionType => 'object.propertyChange', objectTypeId => '0-2'},
    {subscriptionType => 'company.neverHeardOf', objectId => $ids[3] + 0},
))->{status}, 200, 'a request that mixes accounts is taken';
wait_for('what is ours in it arrives', 20, \&equal);

# ---- a status of a batch that nobody has seen ----
my $fault = $rig->fault(provider => 'hubspot', path => '/crm/', contains => 'batch/read', times => -1,
    replace => [{find => '"COMPLETE"', with => '"MISMATCH"'}]);
$rig->sim_hubspot(PATCH => "companies/$ids[4]", {properties => {name => 'Mismatch'}, notify => $no});
is $rig->run_now('hubspot'), 0, 'batches of status MISMATCH are read by what they hold';
ok equal(), 'and the mirror equals HubSpot';
$rig->sim(DELETE => "faults/$fault");

# ---- a search that lags and is out of order ----
for my $jitter ($no, $yes) {
    my $what = $jitter ? 'late and out of order' : 'late';
    $rig->sim_hubspot(PATCH => '', {settings => {search_delay_ms => 2000,
        search_jitter => $jitter}});
    $rig->sim_hubspot(PATCH => "companies/$_", {properties => {name => "Found $what $_"},
        notify => $no}) for @ids[0 .. 9];
    wait_for("a search that tells $what: catch-ups find every change", 60, sub {
        $rig->must('queue', 'rebuild') if $rig->idle;
        return equal();
    });
}
$rig->sim_hubspot(PATCH => '', {settings => {search_delay_ms => 0, search_jitter => $no}});

# ---- tokens: refreshed with and without a new refresh token; an app that is uninstalled ----
$rig->start('admin');
wait_for('the admin service answers', 20,
    sub { $rig->http('GET', "$admin/livez")->{status} == 200 });
sub walk { return $rig->walk("$admin/oauth/hubspot/start?workspace=acme&mode=live") }

sub expire {    # at HubSpot; we do not know
    for my $token (@{$rig->sim_hubspot(GET => '')->{tokens}}) {
        $rig->sim_hubspot(PATCH => "tokens/$token->{token}", {expires_in_s => 0})
            unless ($token->{kind} // '') eq 'static' || $token->{token} =~ /^pat-/;
    }
    return;
}

sub state_of { return $rig->value(q{select state from psync.connection}) }
sub resync { return ($rig->cmd('resync', 'hubspot', 'company', $ids[5], '--wait', '--timeout', '240s'))[0] }

for my $rotates ($no, $yes) {
    my $what = $rotates ? 'refresh tokens that roll' : 'refresh tokens that stay';
    $rig->sim_hubspot(PATCH => '', {settings => {refresh_rotates => $rotates}});
    is walk(), 200, "$what: connected by a walk";
    for my $time ('once', 'and again') {
        expire();
        is resync(), 0, "$what: an access token that ran out is renewed $time";
    }
    is state_of(), 'connected', "$what: connected";
}
for my $kills ($no, $yes) {
    my $what = $kills ? 'an uninstall that ends access tokens' : 'an uninstall that leaves them';
    $rig->sim_hubspot(PATCH => '', {settings => {uninstall_kills_access => $kills}});
    is walk(), 200, "$what: connected by a walk";
    is resync(), 0, "$what: calls are answered";
    $rig->sim_hubspot(POST => 'uninstall', {});
    if (!$kills) {
        is resync(), 0, "$what: and still are";
        expire();
    }
    $rig->cmd('resync', 'hubspot', 'company', $ids[5]);
    wait_for("$what: Reauthorize", 20, sub { state_of() eq 'reauthorize' });
    is $rig->value(q{select state_code from psync.connection}), 'auth_revoked', "$what: and why";
}
is walk(), 200, 'connected again';
$rig->sim_hubspot(PATCH => "companies/$ids[6]", {properties => {name => 'After all'}});
wait_for('and the mirror equals HubSpot', 30, \&equal);
is(($rig->cmd('queue', 'fsck'))[0], 0, 'the queue is sound');
done_testing;
