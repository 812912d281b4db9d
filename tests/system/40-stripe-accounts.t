#!/usr/bin/perl
# Whose is it? One address for all connected accounts, live and test mode, secrets that are being
# changed, a key that may not read everything, access that is taken away.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my ($yes, $no) = (JSON::PP::true, JSON::PP::false);
use constant {
    OTHER => 'acct_1SimOther', OTHER_KEY => 'rk_test_simother0000000000000000001',
    OLD   => 'whsec_systemtestsconnectold00000001', NEW => 'whsec_systemtestsconnectnew00000001',
};
my $rig = Psync->new(sim => [qw(--customers 6 --companies 0 --contacts 0)],
    settings => {STRIPE_WEBHOOK_SECRET => OLD});
$rig->sim(POST => 'stripe/accounts', {account => OTHER, key => OTHER_KEY, mode => 'test',
    customers => 4, subscriptions_per_customer => 1, connected => $yes});
$rig->sim(PATCH => 'stripe/' . Psync::ACCOUNT, {connected => $yes});
$rig->must('workspace', 'add', 'beta', '--currency', 'usd');
$rig->start(qw(webhook-gw scheduler worker));
my %connection;
for my $case (['acme', Psync::STRIPE_KEY], ['beta', OTHER_KEY]) {
    my ($workspace, $key) = @$case;
    $rig->must('connection', 'connect', 'stripe', '-w', $workspace, '--token-file',
        $rig->secret_file("key-$workspace", $key));
    $connection{$workspace} = $rig->value("select connection_id from psync_bi.connection_status
        where workspace = '$workspace'");
    is(($rig->cmd('run-now', 'stripe', '-w', $workspace, '--wait', '--timeout', '240s'))[0], 0,
        "$workspace: the first full sync succeeds");
}
wait_for('all is quiet', 20, sub { $rig->idle });

# The application's endpoint, to which Stripe sends the events of all its accounts.
sub endpoint {
    $rig->sim(POST => 'webhooks/config', {stripe => {url => "$rig->{gateway}/webhooks/stripe",
        connect => $yes, @_}});
    return;
}

sub verdicts {
    my ($verdict, $since) = @_;
    return $rig->value("select count(*) from psync.webhook_event where verdict = '$verdict'
        and event_no > " . ($since // 0));
}

sub last_event { return $rig->value('select coalesce(max(event_no), 0) from psync.webhook_event') }

sub name_of {
    my ($workspace, $id) = @_;
    return $rig->value("select raw ->> 'name' from psync.record where record_id = '$id'
        and connection_id = $connection{$workspace}");
}

sub sim_of {
    my ($account, $method, $path, $body) = @_;
    return $rig->sim($method, "stripe/$account/$path", $body);
}

# ---- by account ----
endpoint(secrets => [OLD], mode => 'test');
my %account = (acme => Psync::ACCOUNT, beta => OTHER);
for my $workspace (qw(acme beta)) {
    my $other = $workspace eq 'acme' ? 'beta' : 'acme';
    my $id = "cus_SysOf$workspace";
    sim_of($account{$workspace}, POST => 'customers', {id => $id, name => "of $workspace"});
    wait_for("an event of $workspace\'s account reaches $workspace", 20,
        sub { name_of($workspace, $id) eq "of $workspace" });
    is name_of($other, $id), '', "and $other hears nothing of it";
}
my $before = last_event();
my $stranger = $rig->stripe_event('customer.updated', {id => 'cus_SysOfacme'},
    account => 'acct_1Nobody');
my $answer = $rig->deliver_stripe($stranger, secret => OLD, url => "$rig->{gateway}/webhooks/stripe");
is $answer->{status}, 200, 'an event of an account nobody connected is answered 200';
wait_for('and counted', 20, sub { verdicts('wh_unknown_account', $before) == 1 });

# ---- by mode ----
$before = last_event();
$answer = $rig->deliver_stripe($rig->stripe_event('customer.updated', {id => 'cus_SysOfacme'},
    account => Psync::ACCOUNT, livemode => $yes), secret => OLD,
    url => "$rig->{gateway}/webhooks/stripe");
is $answer->{status}, 200, 'a live event of an account that is connected in test mode: 200';
wait_for('and counted, too', 20, sub { verdicts('wh_unknown_account', $before) == 1 });
is verdicts('accepted', $before), 0, 'nothing is looked at for it';

# The same customer exists in live mode only: a key of the other mode says so.
$rig->sim(POST => 'stripe/' . Psync::ACCOUNT . '/customers',
    {id => 'cus_SysLiveOnly', name => 'Live', mode => 'live', notify => $no});
my ($code, $out, $err) = $rig->cmd('resync', 'stripe', 'cus_SysLiveOnly', '-w', 'acme', '--wait',
    '--timeout', '240s');
isnt $code, 0, 'a record of the other mode cannot be had';
my ($line) = $rig->rows(q{select * from psync_bi.sync_log where record_id = 'cus_SysLiveOnly'});
is $line->{error_code}, 'auth_mode_mismatch', 'the log says that modes are mixed';
is $line->{http_status}, 404, 'with the answer';
like $line->{error_message}, qr/similar object exists in live mode/, 'and what Stripe says';
is $line->{status}, 'failed', 'it failed';
is $line->{next_retry_at}, undef, 'and is not tried again';
is $rig->value("select count(*) from psync.record where record_id = 'cus_SysLiveOnly'"), 0,
    'no row is made of it';
is $rig->value("select state from psync.connection where connection_id = $connection{acme}"),
    'connected', 'the connection stays connected';

# ---- a secret that is being changed: Stripe signs with both, we know one ----
my $n = 0;
sub arrives {
    my ($what) = @_;
    my $id = 'cus_SysRoll' . ++$n;
    sim_of(Psync::ACCOUNT, POST => 'customers', {id => $id, name => "roll $n"});
    return wait_for($what, 20, sub { name_of('acme', $id) eq "roll $n" });
}
sub refused {
    my ($what, $secret) = @_;
    my $r = $rig->deliver_stripe($rig->stripe_event('customer.updated', {id => 'cus_SysOfacme'},
        account => Psync::ACCOUNT), secret => $secret, url => "$rig->{gateway}/webhooks/stripe");
    is $r->{status}, 401, $what;
    return;
}
endpoint(secrets => [NEW, OLD], mode => 'test');
arrives('two signatures, the second of which is by the secret we know');
refused('by the new one alone: refused', NEW);
$rig->stop('webhook-gw');
$rig->{settings}{STRIPE_WEBHOOK_SECRET} = NEW . ',' . OLD;
$rig->start('webhook-gw');
arrives('both known');
endpoint(secrets => [NEW], mode => 'test');
arrives('the old one is gone at Stripe');
$rig->stop('webhook-gw');
$rig->{settings}{STRIPE_WEBHOOK_SECRET} = NEW;
$rig->start('webhook-gw');
arrives('and here');
refused('the old one is refused', OLD);
my $body = $rig->stripe_event('customer.updated', {id => 'cus_SysOfacme'},
    account => Psync::ACCOUNT);
my $good = $rig->stripe_signature($body, secret => NEW);
my ($at, $v1) = $good =~ /^t=(\d+),v1=(\w+)$/;
for my $case (
    ['five wrong signatures before the right one', 200,
        "t=$at," . join(',', map { 'v1=' . ("$_" x 64) } 1 .. 5) . ",v1=$v1,v0=" . ('0' x 64)],
    ['the right one under v0', 401, "t=$at,v0=$v1"],
    ['another time than was signed', 401, 't=' . ($at - 1) . ",v1=$v1"],
) {
    my ($what, $want, $signature) = @$case;
    is $rig->deliver_stripe($body, signature => $signature,
        url => "$rig->{gateway}/webhooks/stripe")->{status}, $want, $what;
}

# ---- a key without one permission, while deliveries come ----
wait_for('all is quiet', 20, sub { $rig->idle });
my $key = Psync::STRIPE_KEY;
my @permissions = map { "${_}_read" }
    qw(customer subscription product coupon charge event invoice account);
$rig->sim_stripe(PATCH => "keys/$key", {permissions => \@permissions});
$rig->sim_stripe(POST => 'prices', {id => 'price_SysNo', product => 'prod_SimStarter',
    currency => 'usd', unit_amount => 700, recurring => {interval => 'month'}});
my $refusal = wait_for('a price that the key may not read has its line in the log', 20, sub {
    my ($row) = $rig->rows(q{select * from psync_bi.sync_log where record_id = 'price_SysNo'});
    return $row;
});
is $refusal->{error_code}, 'permission_denied', 'as not allowed';
like "$refusal->{error_message} $refusal->{error_field}", qr/plan_read/, 'with the permission';
is $refusal->{object_type}, 'price', 'of that type';
arrives('customers go on');
is $rig->value("select state from psync.connection where connection_id = $connection{acme}"),
    'connected', 'connected still';
$rig->sim_stripe(PATCH => "keys/$key", {permissions => [@permissions, 'plan_read']});
$rig->must('retry', '--failed', '-w', 'acme');
wait_for('granted and retried, the price is here', 20, sub {
    $rig->value(q{select count(*) from psync.record where record_id = 'price_SysNo'}) == 1;
});

# ---- access that is taken away: said by an event, believed when a call confirms it ----
my $lie = $rig->deliver_stripe($rig->stripe_event('account.application.deauthorized',
    {id => 'ca_sim0000000000000000000000000001', object => 'application'}, account => OTHER),
    secret => NEW, url => "$rig->{gateway}/webhooks/stripe");
is $lie->{status}, 200, 'an event says that access was taken away';
wait_for('it is looked into', 20, sub { $rig->idle });
is $rig->value("select state from psync.connection where connection_id = $connection{beta}"),
    'connected', 'while calls are answered it is not believed';
$rig->fault(provider => 'stripe', path => '/v1/account', error => 'account-invalid', times => 1);
$rig->deliver_stripe($rig->stripe_event('account.application.deauthorized',
    {id => 'ca_sim0000000000000000000000000001', object => 'application'}, account => OTHER),
    secret => NEW, url => "$rig->{gateway}/webhooks/stripe");
wait_for('with a call that confirms it the connection is disconnected', 20, sub {
    $rig->value("select state from psync.connection where connection_id = $connection{beta}")
        eq 'disconnected';
});
is $rig->value("select state_code from psync.connection where connection_id = $connection{beta}"),
    'auth_app_uninstalled', 'and says why';
is $rig->value("select state from psync.connection where connection_id = $connection{acme}"),
    'connected', 'the other account is not touched';
$before = last_event();
# The gateway reads its routes anew within seconds.
my $after = 0;
wait_for('deliveries for it are answered and counted', 30, sub {
    sim_of(OTHER, POST => 'customers', {id => 'cus_SysAfter' . ++$after, name => 'after'});
    return verdicts('disconnected', $before) >= 1;
});
is(($rig->cmd('queue', 'fsck'))[0], 0, 'the queue is sound');
done_testing;
