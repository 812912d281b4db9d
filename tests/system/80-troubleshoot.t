#!/usr/bin/perl
# The article's lines, each as it happens to somebody: `diagnose` names the cause, the mend and the
# command, and its exit code says so; once mended it has nothing to say.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;
use Time::HiRes qw(time);

my ($yes, $no) = (JSON::PP::true, JSON::PP::false);
my $rig = Psync->new(sim => [qw(--companies 24 --list-members 20 --contacts 0 --customers 8)],
    settings => {HUBSPOT_DEVELOPER_KEY => 'sim-hubspot-developer-key'});
$rig->start(qw(webhook-gw scheduler worker));
$rig->sim(POST => 'webhooks/config', {retry_factor => 0.001});
my $hubspot = $rig->connect_hubspot(hooks => 1);
is $rig->run_now('hubspot'), 0, 'HubSpot is mirrored';
my $stripe = $rig->connect_stripe(hooks => 1);
is $rig->run_now('stripe'), 0, 'Stripe is mirrored';
my @company = @{$rig->sim_hubspot(GET => 'companies?list=42&ids=1')};
my @customer = @{$rig->sim_stripe(GET => 'customers?ids=1')};

# Exit code, the findings, and the cause among them.
sub diagnose {
    my (@words) = @_;
    my ($code, $out, $err) = $rig->cmd('diagnose', @words, '-o', 'json');
    my $said = eval { json->decode($out) } // do { diag "$out$err"; [] };
    my ($cause) = grep { $_->{verdict} eq 'cause' } @$said;
    return ($code, $said, $cause);
}

sub cause_is {
    my ($line, $words, @expected) = @_;
    return cause_said($line, [diagnose(@$words)], @expected);
}

sub cause_said {
    my ($line, $answer, $check, $code, $text, $command) = @_;
    my ($exit, $said, $cause) = @$answer;
    is $exit, 6, "$line: a cause is found";
    return fail("$line: no cause") && diag explain $said unless $cause;
    is $said->[-1], $cause, "$line: and nothing after it is asked" or diag explain $said;
    is scalar(@$said), $check, "$line: it is check $check" if $check;
    is $cause->{error_code}, $code, "$line: it is $code";
    like $cause->{text}, $text, "$line: said in words";
    like $cause->{mend}, qr/^[A-Z].*\.$/, "$line: with its mend, a sentence";
    like $cause->{command}, $command, "$line: and the command that does it";
    return $cause;
}

sub well {
    my ($line, @words) = @_;
    my ($exit, $said) = diagnose(@words);
    is $exit, 0, "$line: nothing is wrong" or diag explain $said;
    return $said;
}

# As if it were so long ago, as the clocks and the record say.
sub long_ago {
    my ($connection, @ids) = @_;
    my $list = join ', ', map { "'$_'" } @ids;
    $rig->value("update psync.record_seen set fetched_at = now() - interval '1 hour'
        where record_id in ($list)") if @ids;
    $rig->value("update psync.connection set last_incremental_at = now() - interval '8 days',
        last_delivery_at = now() - interval '8 days', channel_state = 'fresh',
        watermark_at = now() - interval '30 minutes' where connection_id = $connection");
    return;
}

subtest 'all is well' => sub {
    well('to begin with', $_) for qw(hubspot stripe);
};

subtest 'a quiet account is no false alarm' => sub {
    long_ago($_) for $hubspot, $stripe;
    for my $provider (qw(hubspot stripe)) {
        my $said = well('eight days without a delivery', $provider);
        ok scalar(grep { $_->{text} =~ /^(Quiet|Fresh)/ } @$said),
            'and it is said that nothing changed there' or diag explain $said;
    }
};

subtest 'what changed while it was read is no false alarm either' => sub {
    my $at = int(time - 300);
    my $read = "select fetched_at > to_timestamp($at) + interval '1 minute'
        from psync.record_seen where record_id = '$company[2]'";
    $rig->sim_hubspot(PATCH => "companies/$company[2]", {notify => $no,
        properties => {industry => 'AT ONCE'}, updated_at_ms => $at * 1000});
    $rig->must('resync', 'hubspot', $company[2], '--wait');
    $rig->value("update psync.record_seen set fetched_at = to_timestamp($at) + interval '1 second'
        where record_id = '$company[2]'");
    my $missed = $rig->value('select sum(probe_missed) from psync.connection');
    long_ago($hubspot);
    well('read in the second after its change', 'hubspot');
    wait_for('it is read once more, to be sure', 20, sub { $rig->value($read) eq 't' });
    is $rig->value('select sum(probe_missed) from psync.connection'), $missed,
        'and it counts for no missed delivery';
};

subtest "incremental is stale: HubSpot's subscription was dropped" => sub {
    $rig->must('webhook', 'repair', 'hubspot');
    $rig->sim(POST => 'webhooks/config', {hubspot => {subscriptions => 'listed'}});
    my $api = "$rig->{hubspot}/webhooks/v3/1160452/subscriptions";
    my $key = '?hapikey=sim-hubspot-developer-key';
    my $all = json->decode($rig->http(GET => "$api$key")->{content})->{results};
    ok scalar(@$all), 'the app has subscriptions';
    $rig->http(PATCH => "$api/$_->{id}$key", content => '{"active":false}',
        headers => {'Content-Type' => 'application/json'}) for @$all;
    $rig->sim_hubspot(PATCH => "companies/$company[0]",
        {properties => {industry => 'UNTOLD'}, updated_at_ms => int((time - 300) * 1000)});
    long_ago($hubspot, $company[0]);
    cause_is('dropped', ['hubspot'], 2, 'wh_subscription_off', qr/off|no subscription/,
        qr/^pivotal-sync webhook repair hubspot -w acme$/);
    wait_for('dropped: the change itself is caught up', 20, sub {
        $rig->value("select count(*) from psync_bi.hubspot_company where record_id = '$company[0]'
            and raw #>> '{properties,industry}' = 'UNTOLD'");
    });
    is(($rig->cmd('webhook', 'repair', 'hubspot'))[0], 0, 'dropped: the command mends it');
    $rig->sim_hubspot(PATCH => "companies/$company[1]", {properties => {industry => 'TOLD'}});
    wait_for('dropped: deliveries come again', 20, sub {
        $rig->value("select count(*) from psync_bi.hubspot_company where record_id = '$company[1]'
            and raw #>> '{properties,industry}' = 'TOLD'");
    });
    well('dropped, then repaired', 'hubspot');
};

subtest "incremental is stale: Stripe's secret is wrong" => sub {
    $rig->sim(POST => 'webhooks/config', {stripe => {secrets => ['whsec_another']}});
    $rig->sim_stripe(PATCH => "customers/$_", {name => 'wrong secret'}) for @customer[0 .. 3];
    wait_for('its deliveries are refused', 20, sub {
        $rig->value("select count(*) from psync.webhook_event
            where verdict = 'wh_signature_invalid'") >= 4;
    });
    cause_is('secret', ['stripe'], 2, 'wh_signature_invalid', qr/wrong signature/,
        qr/^pivotal-sync webhook repair stripe -w acme$/);
    $rig->sim(POST => 'webhooks/config', {stripe => {secrets => [Psync::STRIPE_SECRET]}});
    $rig->sim_stripe(PATCH => "customers/$customer[4]", {name => 'good secret'});
    wait_for('secret: a good delivery comes', 20, sub {
        $rig->value("select last_delivery_at > (select max(received_at) from psync.webhook_event
            where verdict = 'wh_signature_invalid') from psync.connection
            where connection_id = $stripe") eq 't';
    });
    well('the secret is right again', 'stripe');
};

subtest 'the nightly sync failed' => sub {
    $rig->sim_hubspot(DELETE => 'lists/42');
    $rig->cmd('run-now', 'hubspot', '--wait', '--timeout', '60s');
    $rig->value("update psync.run set trigger = 'nightly' where run_id =
        (select max(run_id) from psync.run)");
    $rig->value("update psync.connection set last_full_success_at = now() - interval '40 hours'
        where connection_id = $hubspot");
    $rig->sim_hubspot(POST => 'lists/42/restore');
    cause_is('nightly', ['hubspot'], 3, 'list_not_found', qr/last run ended with: Mirrored list/,
        qr/^pivotal-sync run-now --wait hubspot -w acme$/);
    is $rig->run_now('hubspot'), 0, 'nightly: the command does it';
    well('nightly, then run by hand', 'hubspot');
};

subtest 'a record is not in the mirrored list' => sub {
    my %member = map { $_ => 1 } @{$rig->sim_hubspot(GET => 'lists/42/members')->{members}};
    my ($stranger) = grep { !$member{$_} } @{$rig->sim_hubspot(GET => 'companies?ids=1')};
    my ($code, $out) = $rig->cmd('why', 'hubspot', 'company', $stranger, '-o', 'json');
    my ($cause) = grep { $_->{verdict} eq 'cause' } @{json->decode($out)};
    is $code, 6, 'why finds the cause';
    is $cause->{error_code}, 'not_in_mirrored_list', 'it was never a member';
    like $cause->{mend}, qr/Add it there/, 'and where to add it';
    # One that was a member, and left.
    my $left = $company[5];
    my $id = $rig->value("select customer_id from psync.record_link where record_id = '$left'");
    $rig->sim_hubspot(POST => 'lists/42/remove', {ids => [$left]});
    cause_is('left the list', ['hubspot', '--customer', $id], 0, 'not_in_mirrored_list',
        qr/not in the list/, qr/^pivotal-sync run-now hubspot -w acme$/);
    $rig->sim_hubspot(POST => 'lists/42/add', {ids => [$left]});
    $rig->run_now('hubspot');
    well('a member again', 'hubspot', '--customer', $id);
};

subtest "one customer still shows last quarter's MRR" => sub {
    my ($row) = $rig->rows("select l.customer_id, l.record_id, c.mrr from psync.record_link l
        join psync_bi.customer c using (customer_id) where l.object_type = 'customer'
        and c.mrr > 0 order by 1 limit 1");
    # A fetch for another reason (a catch-up, say) mends it as well: then it is edited once more.
    my $answer = wait_for('MRR: it is found', 60, sub {
        $rig->value("update psync.customer set fields = fields || '{\"mrr\": 1}'
            where customer_id = $row->{customer_id}");
        my @answer = diagnose('stripe', '--customer', $row->{customer_id});
        return $answer[0] == 6 && \@answer;
    });
    cause_said('MRR', $answer, 0, '',
        qr/fields of customer $row->{customer_id} were changed/,
        qr/^pivotal-sync resync stripe customer $row->{record_id} -w acme$/);
    is(($rig->cmd('resync', 'stripe', $row->{record_id}, '--wait'))[0], 0, 'MRR: the command mends it');
    is $rig->value("select mrr from psync_bi.customer where customer_id = $row->{customer_id}"),
        $row->{mrr}, 'MRR: it is what Stripe says';
    well('MRR, then resynced', 'stripe', '--customer', $row->{customer_id});
};

subtest 'the banner reads Reauthorize, then Disconnected' => sub {
    $rig->fault(provider => 'hubspot', regex => "/companies/($company[6]|batch)", times => -1,
        error => 'token-invalid');
    $rig->cmd('resync', 'hubspot', $company[6]);
    wait_for('the token is refused', 20, sub {
        $rig->value("select state from psync.connection where connection_id = $hubspot") ne 'connected';
    });
    cause_is('reauthorize', ['hubspot'], 1, 'auth_key_invalid', qr/must be authorized again/,
        qr/^pivotal-sync connection reauthorize hubspot -w acme$/);
    $rig->sim(DELETE => 'faults');
    $rig->connect_hubspot(no_scope => 1);
    wait_for('what waited is done', 20, sub { $rig->idle });
    well('reauthorized', 'hubspot');
    $rig->must('connection', 'disconnect', 'stripe', '--yes');
    cause_is('disconnected', ['stripe'], 1, 'auth_app_uninstalled', qr/is disconnected/,
        qr/^pivotal-sync connection connect stripe -w acme$/);
};
done_testing;
