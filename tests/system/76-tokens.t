#!/usr/bin/perl
# Tokens that expire while much is going on: one refresh whoever waits for it, ahead of time where
# it can be, nothing lost when the refreshing worker is killed, and a person's walk in the middle
# of a full sync, after which everything goes on by itself.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Chaos;
use IO::Socket::INET;
use Psync;
use Test::More;
use Time::HiRes qw(time sleep);

my $long = Chaos::long_form();
my $units = $long ? 50 : 25;    # that wait for one refresh
my $members = $ENV{MEMBERS} // ($long ? 20000 : 800);
my $port = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1')->sockport;
my $admin = "http://127.0.0.1:$port";
my $chaos = Chaos->new(sim => ['--companies', $members + 10, '--list-members', $members,
        '--contacts', 20, '--customers', 20],
    settings => {ADMIN_LISTEN => "127.0.0.1:$port", ADMIN_PUBLIC_URL => $admin,
        STRIPE_CLIENT_ID => 'ca_sim0000000000000000000000000001',
        STRIPE_SECRET_KEY => 'sk_test_simplatform0000000000000001'});
my $rig = $chaos->rig;
$rig->{settings}{HUBSPOT_AUTHORIZE_URL} = "$rig->{hubspot}/oauth/authorize";
$rig->{settings}{STRIPE_AUTHORIZE_URL} = "$rig->{stripe}/oauth/v2/authorize";
$rig->start('admin');
wait_for('the admin service answers', 20, sub { $rig->http('GET', "$admin/livez")->{status} == 200 });

sub walk { return $rig->walk("$admin/oauth/$_[0]/start?workspace=acme&mode=$_[1]") }
my ($offset_ms, $hubspot) = (0, $rig->connection('hubspot'));
my $stripe = $rig->connection('stripe');
sub expire { # at the provider; we do not know
    $offset_ms += 2 * 3600 * 1000;
    $rig->sim(POST => 'clock', {offset_ms => $offset_ms});
    return;
}
sub refreshes {
    my ($provider) = @_;
    my $endpoints = $rig->sim(GET => 'counters?ids=0')->{$provider}{endpoints};
    my $n = 0;
    $n += $endpoints->{$_}{requests} for grep { /oauth.*token/ && /^POST/ } keys %$endpoints;
    return $n;
}
sub state {
    return $rig->value("select state || ' ' || state_code from psync.connection
        where connection_id = $_[0]");
}
sub resync {
    return ($rig->cmd('resync', $_[0], $_[1], '--wait', '--timeout', '240s'))[0];
}

is walk('hubspot', 'live'), 200, 'HubSpot is connected by a walk';
is walk('stripe', 'test'), 200, 'and Stripe, whose refresh tokens roll';
my @companies = map { $_->{record_id} } $rig->rows("select record_id from psync.record
    where object_type = 'company' and in_scope order by 1 limit $units");
my $customer = $rig->value("select min(record_id) from psync.record_link where object_type = 'customer'");
is resync('hubspot', $companies[0]), 0, 'their tokens serve';
is resync('stripe', $customer), 0, 'both';

# ---- one refresh ----
# Each of them in work by itself, so that each has a call of its own refused: their reads are held
# until all have begun, and answered when the token is too old. In the long form by as many
# processes.
my $refused = sub { return $rig->sim(GET => 'counters?ids=0')->{hubspot}{by_status}{401} // 0 };
my $leased = sub { return $rig->cmd_json('queue', 'stats')->{leased} };
if ($long) {
    $rig->stop($_) for qw(worker worker-2);
    local @{$rig->{settings}}{qw(WORKER_PROCESSES WORKER_INFLIGHT)} = ($units, 1);
    $rig->start('worker-50');
}
wait_for('nothing is under way', 60, sub { $rig->idle });
my $reads = $rig->fault(provider => 'hubspot', path => '/crm/', times => -1,
    until_released => JSON::PP::true, late => JSON::PP::true);
my $since = time;
my $users = 0;
for my $id (@companies) {
    # A read is given up after 30 s: on a slow machine there are fewer of them.
    last if !$long && time > $since + 15;
    $rig->deliver_hubspot($rig->hubspot_events({objectId => 0 + $id}));
    Psync::until_true(20, sub { $rig->held($reads) > $users }) or last;
    $users++;
}
cmp_ok $users, '>=', $long ? $units : 2, "$users calls are under way";
my $before = refreshes('hubspot');
my $unauthorized = $refused->();
my $asked = $rig->fault(provider => 'hubspot', method => 'POST', contains => 'refresh_token',
    times => -1, until_released => JSON::PP::true);
expire();
$rig->sim(DELETE => "faults/$reads");
wait_for('the token endpoint is asked', 30, sub { $rig->held($asked) });
my $held_at = time;
wait_for('all of them are refused', 30, sub { $refused->() - $unauthorized >= $users });
# Who comes now does not wait in work: a slow token endpoint would fill every slot there is. Of
# each process one more may be refused, that has not heard of the refresh yet.
my @late = map { $_->{record_id} } $rig->rows("select record_id from psync.record
    where object_type = 'company' and in_scope order by 1 desc limit 8");
$rig->deliver_hubspot($rig->hubspot_events({objectId => 0 + $_})) for @late;
my ($idle, $most) = (0, 0);
do {
    $idle += $rig->value("select count(*) from pg_stat_activity where datname = current_database()
        and state like 'idle in transaction%' and now() - xact_start > interval '1 second'");
    my $n = $leased->();
    $most = $n if $n > $most;
} while time < $held_at + ($long ? 20 : 1.5);
is $idle, 0, 'no transaction is open while it answers';
cmp_ok $most, '>=', $users, 'all of them wait for it';
cmp_ok $refused->() - $unauthorized, '<=', $users + 2, 'and hardly anybody who came after them';
is $rig->held($asked), 1, 'one call asks';
$rig->sim(DELETE => "faults/$asked");
wait_for('they go on', 60, sub { $rig->idle });
is_deeply [$rig->rows("select status, count(*) as n from psync.attempt
    where record_id = any('{@{[join ',', @companies[0 .. $users - 1]]}}')
    and started_at > to_timestamp($since - 0.1) group by 1")],
    [{status => 'succeeded', n => $users}], 'every one of them succeeds';
is refreshes('hubspot') - $before, 1, 'by exactly one refresh';
is $rig->value("select count(*) from psync.attempt where record_id = any('{@{[join ',', @late]}}')
    and started_at > to_timestamp($held_at) and status = 'succeeded'"), scalar @late,
    'and who came later as well';
if ($long) {
    $rig->stop('worker-50');
    $chaos->armed(sub { $rig->start(qw(worker worker-2)) });
}

# Somebody else renewed it since this process read it, but that one is too old by now as well.
is resync('hubspot', $companies[1]), 0, 'the workers know the token';
expire();
$rig->value("update psync.credential set version = version + 1 where connection_id = $hubspot");
is resync('hubspot', $companies[1]), 0, 'a token that others renewed a life ago is renewed again';
is state($hubspot), 'connected ', 'and nobody has to sign in';

# ---- ahead of time ----
$before = refreshes('hubspot');
$unauthorized = $refused->();
$rig->value("update psync.credential set expires_at = now() + interval '60 s',
    updated_at = now() - interval '29 min' where connection_id = $hubspot");
sleep 2.1;    # what workers know of a connection is that old at most
is resync('hubspot', $companies[1]), 0, 'a token that is about to expire';
is refreshes('hubspot') - $before, 1, 'is refreshed';
is $refused->(), $unauthorized, 'before anybody is refused';
$rig->value("update psync.credential set expires_at = now() + interval '60 s',
    updated_at = now() - interval '29 min' where connection_id = $hubspot");
my $fault = $rig->fault(provider => 'hubspot', method => 'POST', regex => 'oauth.*token',
    status => 503, times => -1);
sleep 2.1;    # as above
is resync('hubspot', $companies[1]), 0, 'a token endpoint that is down then is no failure';
is state($hubspot), 'connected ', 'and changes no state';
$rig->sim(DELETE => "faults/$fault");

# ---- refused while somebody signs in ----
# A worker's refresh with the old pair is answered when a walk has brought a new one already.
my $renewal = $rig->fault(provider => 'stripe', method => 'POST', contains => 'refresh_token',
    until_released => JSON::PP::true, late => JSON::PP::true);
expire();
$rig->deliver_stripe($rig->stripe_event('customer.updated', {id => $customer, object => 'customer'}));
wait_for('the token endpoint is asked', 30, sub { $rig->held($renewal) });
is walk('stripe', 'test'), 200, 'somebody signs in meanwhile';
$rig->sim(DELETE => "faults/$renewal");
wait_for('the work is done', 60, sub { $rig->idle });
is state($stripe), 'connected ', 'that the old pair is refused says nothing of the new one';
is $rig->value("select count(*) from psync.audit where action = 'connection.reauthorize'"), 0,
    'and nobody was asked to sign in';

# ---- killed while refreshing ----
# Both providers' tokens at once. Whether a rolling one may be lost is known from outside: the
# provider has rolled it (it counted a refresh) and our new version of the credential is not there.
my %of = (hubspot => {id => $hubspot, ask => sub {
        $rig->deliver_hubspot($rig->hubspot_events({objectId => 0 + $companies[2]})) }},
    stripe => {id => $stripe, ask => sub {
        $rig->deliver_stripe($rig->stripe_event('customer.updated',
            {id => $customer, object => 'customer'})) }});
my %count = (refreshes => 0, kills => 0, lost => 0, false => 0);
sub ask_both { $_->{ask}->() for values %of; return }
sub look { # at versions and states, and what the providers have counted
    my %row = map { $_->{provider} => $_ } $rig->rows("select provider, k.version, state || ' ' ||
        state_code as state, state_reason from psync.connection
        join psync.credential k using (connection_id)");
    $row{$_}{rolled} = refreshes($_) for keys %row;
    return \%row;
}
sub settled { # in whatever state; no lease of the dead is waited for
    my ($killed) = @_;
    return Psync::until_true(90, sub {
        if ($killed) {
            $chaos->revive;
            $rig->value("update psync.credential set refreshing_until = now() - interval '1 s'
                where refreshing_until is not null");
        }
        return 1 if $rig->idle;
        # A connection that asks for a person keeps its work waiting.
        return $rig->cmd_json('queue', 'stats')->{leased} == 0
            && $rig->value("select count(*) from psync.connection where state = 'reauthorize'");
    });
}
# One refresh of each, during which the worker may be killed: at a point, or at any moment.
sub refresh {
    my ($kill, $before) = @_;
    my $killed = 0;
    expire();
    if ($kill eq 'any') {
        ask_both();
        sleep rand 0.08;    # the moment of the kill is left to chance
        $chaos->kill_program($_) for qw(worker worker-2);
        $killed = 1;
    }
    elsif ($kill ne '') {
        my $asked = 0;
        $killed = defined $chaos->kill_at($kill, 30, sub {
            ask_both() unless $asked++;
            sleep 0.02;    # until the point is met or the 30 s are over
        });
    }
    else {
        ask_both();
    }
    settled($killed) or fail("killed at '$kill': it never settles");
    my $after = look();
    $count{kills} += $killed;
    for my $provider (sort keys %of) {
        my ($was, $is) = ($before->{$provider}, $after->{$provider});
        my $refreshed = $is->{rolled} - $was->{rolled};
        $count{refreshes} += $refreshed;
        next if $is->{state} eq 'connected ';
        # The refresh that was refused is one, the one that was rolled and not kept another.
        if ($killed && $provider eq 'stripe' && $refreshed > 1 + $is->{version} - $was->{version}) {
            $count{lost}++;
            is $is->{state}, 'reauthorize auth_revoked', "Stripe, killed at '$kill': asks for a person";
            like $is->{state_reason}, qr/an earlier refresh was cut off/, 'with that cause';
        }
        else {
            $count{false}++;
            fail("$provider, killed at '$kill': '$is->{state}' for nothing");
            diag($rig->value("select string_agg(concat_ws(' ', started_at, finished_at, object_type,
                record_id, trigger, status, error_code, error_message, http_status, endpoint),
                chr(10) order by attempt_id) from psync.attempt
                where connection_id = $of{$provider}{id}
                and started_at > now() - interval '15 s'"));
        }
        is walk($provider, $provider eq 'stripe' ? 'test' : 'live'), 200, 'who signs in';
        settled(0);
        $after = look();
        is $after->{$provider}{state}, 'connected ', 'which mends it';
    }
    return $after;
}
my @plan = ('token.answered', 'any', 'token.stored', 'fetch.answered');
my $wanted = $long ? $ENV{REFRESHES} // 1000 : 8;
my $began = time;
my $now = look();
for (my $n = 0; $count{refreshes} < $wanted && Test::More->builder->is_passing; $n++) {
    # After a first round most refreshes are left alone.
    my $kill = $n < @plan || $n % 8 == 0 ? $plan[$n / ($n < @plan ? 1 : 8) % @plan] : '';
    $now = refresh($kill, $now);
}
cmp_ok $count{refreshes}, '>=', $wanted, sprintf '%d refreshes, %d kills of the refreshing worker',
    @count{qw(refreshes kills)};
is $count{false}, 0, 'no connection asked for a person for nothing';
# Which of the two the kill meets is chance: one more that is the rolling one's, alone.
for (1 .. 20) {
    last if $count{lost};
    local $of{hubspot}{ask} = sub { };
    $now = refresh('token.answered', $now);
}
cmp_ok $count{lost}, '>=', 1, "$count{lost} rolling pairs were lost between roll and commit";
diag(sprintf '%d refreshes in %.0f s: %d kills, %d false Reauthorize, %d between roll and commit',
    $count{refreshes}, time - $began, @count{qw(kills false lost)}) if $long;

# ---- reauthorize in the middle of a full sync, with deliveries ----
my $kept = "select md5(coalesce((select string_agg(m::text, chr(10) order by connection_id, version)
    from psync.mapping m), '') || coalesce((select string_agg(concat_ws('|', connection_id,
    object_type, record_id, customer_id, how, linked_by, linked_at), chr(10)
    order by connection_id, object_type, record_id) from psync.record_link), ''))";
my $mapping_and_links = $rig->value($kept);
my $slow = $rig->fault(provider => 'hubspot', hold_ms => 150, times => -1);
$rig->must('run-now', 'hubspot');
wait_for('a full sync is in its middle', 60, sub {
    $rig->value("select coalesce(sum(seen), 0) from psync.run_chunk join psync.run using (run_id)
        where run.status = 'running'") > 100 });
$rig->sim_hubspot(POST => 'user_removed', {});
expire();
wait_for('it asks for a person', 60, sub { state($hubspot) eq 'reauthorize auth_revoked' });
$rig->sim(POST => 'clock', {offset_ms => 0});    # else every delivery is from the future
$chaos->change(60);
$rig->sim(DELETE => "faults/$slow");
my $walked = time;
is walk('hubspot', 'live'), 200, 'who signs in';
wait_for('records are fetched again', $long ? 5 : 30, sub {
    $rig->value("select count(*) from psync.record_seen where fetched_at > to_timestamp($walked)") });
$chaos->change(20);
wait_for('the run ends well without a hand', $long ? 400 : 90, sub {
    $rig->value("select status from psync.run order by run_id desc limit 1") =~
        /^(succeeded|partial)$/ });
$chaos->converges('after the walk', $long ? 300 : 60);

# ---- disconnect and reconnect ----
is $rig->value($kept), $mapping_and_links, 'mapping and links are byte for byte as before it';
is(($rig->cmd('connection', 'disconnect', 'hubspot', '--yes'))[0], 0, 'an admin disconnects');
like state($hubspot), qr/^disconnected/, 'which is a state';
ok !$rig->sim(GET => 'hubspot/' . Psync::PORTAL)->{installed}, 'and HubSpot was told';
# What nobody tells us meanwhile, and a pause, which is no state and outlives them.
$rig->sim_hubspot(PATCH => "companies/$_",
    {properties => {name => "Changed in the gap $_"}, notify => JSON::PP::false})
    for @companies[0 .. 4];
is(($rig->cmd('connection', 'pause', 'hubspot'))[0], 0, 'it is paused as well');
is walk('hubspot', 'live'), 200, 'and connects again';
is state($hubspot), 'connected ', 'which mends it';
is $rig->value($kept), $mapping_and_links, 'mapping and links are byte for byte as before';
ok $rig->value("select paused_at is not null from psync.connection where connection_id = $hubspot")
    eq 't', 'but not the pause';
my $queue = $rig->cmd_json('queue', 'stats');
ok $queue->{waiting}{webhook} + $queue->{waiting}{nightly} + $queue->{waiting}{run_now}
    + $queue->{waiting}{interactive} > 0, 'the catch-up since it broke waits';
is(($rig->cmd('connection', 'resume', 'hubspot'))[0], 0, 'it is resumed, and goes on by itself');
Chaos::report($chaos->converges('after it', $long ? 300 : 60));

done_testing;
