#!/usr/bin/perl
# Every error type of common/error_types.tsv is provoked: through the simulated providers, the
# gateway, or a fault of our own services. Its row is read back from psync_bi.sync_log (or its
# receipt from webhook_event), with the texts of the table and what becomes of the work.
# At the end one line for each: code, what provoked it, ok.
use strict;
use warnings;

use FindBin qw($Bin);
use IO::Socket::INET;
use lib "$Bin/lib";
use Psync;
use Test::More;
use Time::HiRes qw(sleep time);

my ($yes, $no) = (JSON::PP::true, JSON::PP::false);

# ---- the table ----
my @columns = qw(code family title provider_signal meaning user_action who_acts severity retry
    pauses banner);
my (%type, @codes);
open my $tsv, '<', Psync::root() . '/common/error_types.tsv' or die "error_types.tsv: $!";
while (my $line = <$tsv>) {
    chomp $line;
    next if $. == 1;
    my %row;
    @row{@columns} = split /\t/, $line, -1;
    $type{$row{code}} = \%row;
    push @codes, $row{code};
}
close $tsv;
my %provoked;

my $port = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1')->sockport;
my $admin = "http://127.0.0.1:$port";
my $rig = Psync->new(own_postgres => 1, session => 1,
    sim => [qw(--companies 70 --list-members 60 --contacts 0 --customers 30)],
    settings => {ADMIN_LISTEN => "127.0.0.1:$port", ADMIN_PUBLIC_URL => $admin,
        HUBSPOT_DEVELOPER_KEY => 'sim-hubspot-developer-key', LEASE_S => 2,
        STRIPE_CLIENT_ID => 'ca_sim0000000000000000000000000001',
        STRIPE_SECRET_KEY => 'sk_test_simplatform0000000000000001'});
$rig->{settings}{HUBSPOT_AUTHORIZE_URL} = "$rig->{hubspot}/oauth/authorize";
my %own = %{$rig->{settings}};

for my $row ($rig->rows('select * from psync_bi.error_reference')) {
    is_deeply $row, $type{$row->{code}}, "$row->{code} reads the same in SQL"
        or diag explain $row;
}
is $rig->value('select count(*) from psync_bi.error_reference'), scalar(@codes),
    'SQL has every error type and no other';
is $rig->value(q{select string_agg(distinct error_code, ' ') from psync.attempt}), '',
    'the log is empty';

my @faults;    # that calm() takes back; asking for them would bring bodies of megabytes

# Nobody waits for the leases of workers that are known to be dead.
sub leases_run_out {
    $rig->redis('eval', q{
        for _, m in ipairs(redis.call('zrange', '{ps0}:l', 0, -1)) do
            redis.call('zadd', '{ps0}:l', 1, m)
        end
        return 1}, 0);
    return;
}

# ---- reading back ----

sub sql_text { return "'" . ($_[0] =~ s/'/''/gr) . "'" }
sub mark { return $rig->value('select coalesce(max(attempt_id), 0) from psync.attempt') }

# What each row of a type must say.
sub texts_are {
    my ($code, $row) = @_;
    my $t = $type{$code};
    is_deeply [@$row{qw(error_title error_family severity retry)}],
        [@$t{qw(title family severity retry)}], "$code: its texts are those of the table";
    return;
}

# Wait for the row of a type after a mark. Options: where (SQL), status, seconds, after.
sub row_of {
    my ($code, $how, %o) = @_;
    my $where = "error_code = '$code' and attempt_id > " . ($o{after} // 0)
        . ($o{where} ? " and $o{where}" : '');
    my ($row) = @{Psync::until_true($o{seconds} // 25, sub {
        my @rows = $rig->rows("select *, attempt_id::text as id from psync_bi.sync_log
            where $where order by attempt_id limit 1");
        return @rows ? \@rows : undef;
    }) // []};
    ok $row, "$code: in the log ($how)";
    if (!$row) {
        diag explain [$rig->rows('select error_code, status, kind, record_id, error_message,
            trigger from psync_bi.sync_log where attempt_id > ' . ($o{after} // 0)
            . ' order by attempt_id desc limit 6')];
        return;
    }
    texts_are($code, $row);
    is $row->{status}, $o{status}, "$code: what becomes of it";
    is defined $row->{next_retry_at} ? 1 : 0, $o{status} eq 'retrying' || $o{later} ? 1 : 0,
        "$code: tried again by itself only where that is so";
    isnt $row->{error_message}, '', "$code: says what happened";
    if ($type{$code}{retry} eq 'never') {
        is(($rig->cmd('retry', $row->{id}))[0], 9, "$code: no retry")
            unless $row->{status} eq 'cancelled';
    }
    elsif ($o{parked}) {
        wait_for("$code: its work waits for the fix", 15, sub {
            return $rig->redis('smembers', "{ps0}:pr:$o{parked}") =~ /^\Q$code\E$/m;
        });
    }
    $provoked{$code} //= $how;
    return $row;
}

# ---- how ----

sub fault {
    my $id = $rig->fault(@_);
    push @faults, $id;
    return $id;
}

# Limits and breakers forget; who waited for them comes forward.
sub calm {
    eval { $rig->sim(DELETE => "faults/$_") } for splice @faults;
    $rig->hurry(limits => 1);
    return;
}

sub state_of {
    my ($provider) = @_;
    return $rig->value("select state from psync.connection where provider = '$provider'");
}

sub connect_again {
    my ($provider) = @_;
    return if state_of($provider) eq 'connected';
    $provider eq 'stripe' ? $rig->connect_stripe : $rig->connect_hubspot(no_scope => 1);
    return;
}

# A fault that meets the reading of one record, then a person's resync of it.
sub by_fault {
    my ($code, $provider, $id, $how, %o) = @_;
    # Alone or in a batch with others whose turn came again.
    my $regex = $provider eq 'stripe' ? "/v1/customers/$id"
        : "/crm/objects/2026-03/companies/($id|batch)";
    my $after = mark();
    fault(provider => $provider, regex => $regex, contains => $id, times => -1,
        %{$o{fault}});
    $rig->cmd('resync', $provider, $id);
    my $row = row_of($code, $how, after => $after, where => "record_id = '$id'",
        status => $o{status}, parked => $o{parked} && $rig->connection($provider), later => $o{later}, seconds => $o{seconds});
    if ($row && $o{banner}) {
        wait_for("$code: the banner reads $o{banner}", 15, sub { state_of($provider) eq $o{banner} });
    }
    elsif ($row) {
        is state_of($provider), 'connected', "$code: the banner stays";
    }
    if ($row && $o{body}) {
        like $rig->value("select body from psync.attempt_body where attempt_id = $row->{id}"),
            $o{body}, "$code: the answer is kept";
    }
    calm();
    connect_again($provider) if $o{banner};
    return $row;
}

# ---- both accounts, mirrored ----
$rig->start(qw(webhook-gw scheduler worker admin));
$rig->sim(POST => 'webhooks/config', {retry_factor => 0.001});
my $hubspot = $rig->connect_hubspot(hooks => 1);
is $rig->run_now('hubspot'), 0, 'HubSpot is mirrored';
my $stripe = $rig->connect_stripe(hooks => 1);
is $rig->run_now('stripe'), 0, 'Stripe is mirrored';
my @companies = @{$rig->sim_hubspot(GET => 'companies?list=42&ids=1')};
my @customers = @{$rig->sim_stripe(GET => 'customers?ids=1')};

my $untold = shift @customers;
$rig->sim_stripe(PATCH => "customers/$untold", {name => 'untold', notify => $no});

# ---- a fetch that is overtaken ----
{
    my $after = mark();
    my $late = shift @customers;
    my $fault = fault(provider => 'stripe', path => "/v1/customers/$late", times => 1,
        until_released => $yes);
    $rig->cmd('resync', 'stripe', $late);
    wait_for('stale_event: a fetch is under way', 20, sub { $rig->held($fault) });
    is $rig->run_now('stripe'), 0, 'stale_event: a full sync overtakes it';
    $rig->sim(DELETE => "faults/$fault");
    row_of('stale_event', 'a fetch that a later one has overtaken', after => $after,
        where => "record_id = '$late'", status => 'skipped');
}

# The slowest first: it goes on while the others are made.
my $slow = shift @companies;
my $slow_mark = mark();
$rig->fault(provider => 'hubspot', hold_ms => 60_000, times => 1,
    path => "/crm/objects/2026-03/companies/$slow");
$rig->cmd('resync', 'hubspot', $slow);

# ---- what HubSpot and Stripe answer for one record ----
my @records = (
    # code, provider, the simulator's answer, status of the attempt
    ['permission_denied', 'hubspot', {error => 'banned'}, 'failed', parked => 1],
    ['plan_required', 'hubspot', {status => 403, body => {status => 'error',
        message => 'Your plan does not include this API: upgrade to use it'}}, 'failed', parked => 1],
    ['invalid_request', 'hubspot', {error => 'validation'}, 'failed', body => qr/VALIDATION/],
    ['uri_too_long', 'hubspot', {error => 'uri-too-long'}, 'retrying'],
    ['record_locked', 'hubspot', {error => 'locked'}, 'retrying'],
    ['rate_limit_burst', 'hubspot', {error => 'rate-ten-secondly'}, 'retrying'],
    ['rate_limit_daily', 'hubspot', {error => 'rate-daily'}, 'retrying'],
    ['rate_limit_concurrency', 'stripe', {error => 'concurrency'}, 'retrying'],
    ['conflict', 'stripe', {error => 'lock-timeout'}, 'retrying'],
    ['payment_required', 'stripe', {status => 402, body => {error => {type => 'card_error',
        message => 'Your card was declined.'}}}, 'failed'],
    ['provider_migrating', 'hubspot', {error => 'migration'}, 'retrying'],
    ['provider_error', 'stripe', {error => 'api-error'}, 'retrying'],
    ['provider_unavailable', 'hubspot', {error => 'http-503'}, 'retrying'],
    ['provider_edge_error', 'hubspot', {error => 'http-524'}, 'retrying'],
    ['provider_dependency', 'stripe', {status => 424, body => {error => {type => 'api_error',
        message => 'An external dependency failed.'}}}, 'retrying'],
    ['connection_reset', 'stripe', {reset => $yes}, 'retrying'],
    ['proxy_failed', 'hubspot', {status => 407, body => 'Proxy Authentication Required'}, 'retrying'],
    ['malformed_body', 'hubspot', {status => 200, body => '<html>welcome</html>'}, 'retrying',
        body => qr/<html>/],
    ['unexpected_shape', 'hubspot', {status => 200, body => {hello => 'world'}}, 'failed',
        body => qr/hello/],
    ['body_too_large', 'stripe', {status => 200, body => '{"id":"' . ('x' x (17 << 20)) . '"}'},
        'retrying'],
    ['auth_mode_mismatch', 'stripe', {status => 404, body => {error => {type =>
        'invalid_request_error', code => 'resource_missing', message => "No such customer; a "
        . "similar object exists in live mode, but a test mode key was used."}}}, 'failed'],
    ['auth_key_invalid', 'hubspot', {error => 'token-invalid'}, 'failed', banner => 'reauthorize'],
    ['scope_missing', 'hubspot', {error => 'missing-scopes'}, 'failed', banner => 'reauthorize'],
    ['auth_app_uninstalled', 'stripe', {error => 'account-invalid'}, 'failed',
        banner => 'disconnected'],
);
for my $case (@records) {
    my ($code, $provider, $fault, $status, %o) = @$case;
    my $what = $fault->{error} // ($fault->{reset} ? 'reset' : "an answer $fault->{status}");
    my $id = $provider eq 'stripe' ? shift @customers : shift @companies;
    by_fault($code, $provider, $id, "$provider answers: $what", fault => $fault,
        status => $status, %o);
}

# ---- by a token that can be refreshed ----
sub walk { # unpinned: the person picks the account
    return $rig->walk("$admin/oauth/hubspot/start?workspace=acme&mode=live", unpinned => $_[0]);
}
wait_for('the admin service answers', 20, sub { $rig->http('GET', "$admin/livez")->{status} == 200 });
is walk(), 200, 'HubSpot is connected by a walk';
{
    my $expired = {provider => 'hubspot', error => 'token-expired', times => -1};
    my @cases = (
        ['auth_token_expired', 'each answer says expired, also to a new token', [], 'retrying'],
        ['auth_refresh_unavailable', 'the token endpoint answers 503', [error => 'token-503'],
            'retrying'],
        ['auth_client_rejected', 'the token endpoint refuses our client', [error => 'bad-client-id'],
            'failed'],
    );
    for my $case (@cases) {
        my ($code, $how, $token, $status) = @$case;
        fault(provider => 'hubspot', regex => 'oauth.*token', method => 'POST', times => -1,
            @$token) if @$token;
        by_fault($code, 'hubspot', shift @companies, $how, fault => $expired, status => $status);
    }
    my $other = 7654321;
    $rig->sim(POST => 'hubspot/accounts', {portal_id => $other, companies => 1});
    $rig->sim(PATCH => 'hubspot/oauth', {portal_id => $other});
    my $after = mark();
    is walk('unpinned'), 409, 'a walk to another account is refused';
    row_of('auth_account_mismatch', 'a walk ends at another account', after => $after,
        status => 'failed');
    is state_of('hubspot'), 'connected', 'auth_account_mismatch: nothing changed';
    $rig->sim(PATCH => 'hubspot/oauth', {portal_id => Psync::PORTAL});

    $rig->sim_hubspot(POST => 'user_removed');
    by_fault('auth_revoked', 'hubspot', shift @companies,
        'the person who connected has left', fault => $expired, status => 'failed',
        banner => 'reauthorize');
}

# ---- by what happens to records ----
{
    my $after = mark();
    $rig->cmd('resync', 'stripe', 'cus_NobodyKnows');
    row_of('record_not_found', 'a resync of an id that is not there', after => $after,
        status => 'failed');
    my $gone = shift @customers;
    $rig->sim_stripe(DELETE => "customers/$gone");
    row_of('record_deleted', 'a customer is deleted at Stripe', after => $after,
        where => "record_id = '$gone'", status => 'skipped');

    my ($winner, $loser, $back) = splice @companies, 0, 3;
    $rig->sim_hubspot(POST => 'companies/merge', {primary => $winner, merged => [$loser]});
    row_of('record_merged', 'two companies are merged', after => $after,
        where => "record_id = '$loser'", status => 'skipped');
    $rig->sim_hubspot(DELETE => "companies/$back");
    wait_for('a company is deleted', 20, sub {
        $rig->value("select count(*) from psync.record where record_id = '$back'
            and deleted_at is not null");
    });
    $rig->sim_hubspot(POST => "companies/$back/restore");
    $rig->sim_hubspot(POST => 'lists/42/add', {ids => [$back]});
    $rig->cmd('resync', 'hubspot', $back);
    row_of('record_restored', 'a deleted company is restored', after => $after,
        where => "record_id = '$back'", status => 'succeeded');

    my ($outside) = grep { my $id = $_; !grep { $_ eq $id } @{$rig->sim_hubspot(
        GET => 'lists/42/members')->{members}} } @{$rig->sim_hubspot(GET => 'companies?ids=1')};
    $rig->cmd('resync', 'hubspot', $outside);
    row_of('not_in_mirrored_list', 'a resync of a company that is no member', after => $after,
        where => "record_id = '$outside'", status => 'skipped');

    my $nul = shift @companies;
    $rig->sim_hubspot(PATCH => "companies/$nul", {raw => {name => '"a\\u0000b"'}, notify => $no});
    $rig->cmd('resync', 'hubspot', $nul);
    row_of('text_not_storable', 'a name with a NUL character', after => $after,
        where => "record_id = '$nul'", status => 'failed');
    $rig->sim_hubspot(PATCH => "companies/$nul", {raw => {}, notify => $no});
}

# ---- by mapping and matching ----
{
    my $plans = $rig->value("select string_agg(distinct plan, ',') from psync_bi.customer");
    my $after = mark();
    # Each waits until no worker holds what it changes: side by side.
    $rig->cmd_start('plans', 'workspace', 'set', 'acme', '--plans', join ',', 'free', 'pro',
        $plans || ());
    $rig->cmd_start('narrow', 'scope', 'set', 'stripe', 'lookup_key', 'starter_monthly');
    $rig->sim_hubspot(POST => 'properties/companies', {name => $_, type => 'string',
        fieldType => 'text'}) for qw(motto shoe);
    my $shown = $rig->cmd_json('mapping', 'show', 'hubspot');
    $rig->must('mapping', 'apply', $rig->secret_file('map', json->encode({provider => 'hubspot',
        fields => [@{$shown->{fields}}, {field => 'motto', source => 'motto', type => 'text'},
            {field => 'shoe', source => 'shoe', type => 'text'}]})));
    is $rig->cmd_end($_, 20), 0, "$_: it is chosen" for qw(plans narrow);
    row_of('out_of_stripe_scope', 'Stripe is narrowed to a lookup key', after => $after,
        status => 'skipped');
    wait_for('the full sync of the narrowed Stripe ends', 30, sub {
        $rig->value("select count(*) from psync.run where status in ('queued', 'running')") == 0;
    });
    my @cases = (
        ['map_type_mismatch', 'annualrevenue is "1,2 Mio"', {annualrevenue => '1,2 Mio'}, 'partial',
            'arr'],
        ['map_number_out_of_range', 'numberofemployees is 1e30', {numberofemployees => '1e30'},
            'partial', 'employee_count'],
        ['map_enum_unknown', 'a plan that is not in the list', {tier => 'hexagonal'}, 'partial', 'plan'],
        ['map_multi_select', 'two values for one field', {tier => 'free;pro'}, 'partial', 'plan'],
        ['map_value_too_long', '70,000 characters', {motto => 'x' x 70_000}, 'partial', 'motto'],
        ['map_owner_unknown', 'an owner that nobody knows', {hubspot_owner_id => '424242'},
            'partial', 'owner'],
        ['map_required_empty', 'a blank name', {name => ''}, 'partial', 'name'],
    );
    for my $case (@cases) {
        my ($code, $how, $properties, $status, $field) = @$case;
        my $id = shift @companies;
        $after = mark();
        $rig->sim_hubspot(PATCH => "companies/$id", {properties => $properties});
        my $row = row_of($code, $how, after => $after, where => "record_id = '$id'",
            status => $status) or next;
        is $row->{error_field}, $field, "$code: the field is named";
    }
    my $id = shift @companies;
    $after = mark();
    $rig->sim_hubspot(DELETE => 'properties/companies/shoe');
    $rig->cmd('resync', 'hubspot', $id);
    row_of('map_unknown_property', 'a mapped property is deleted at HubSpot', after => $after,
        where => "record_id = '$id'", status => 'partial');
    # A mapping that a later version of the product made: its type of field is not known here.
    $rig->value(q{update psync.mapping set fields = jsonb_set(fields, '{0,type}', '"hologram"')
        where version = (select max(version) from psync.mapping m
            where m.connection_id = mapping.connection_id) and connection_id = } . $hubspot);
    $rig->value("update psync.connection set version = version + 1");
    $after = mark();
    $rig->cmd('connection', 'pause', 'hubspot');
    $rig->cmd('connection', 'resume', 'hubspot');
    wait_for('map_target_missing: the mapping is read anew', 30, sub {
        $rig->cmd('resync', 'hubspot', $id, '--wait');
        $rig->value("select count(*) from psync.attempt where error_code = 'map_target_missing'");
    });
    row_of('map_target_missing', 'a field whose type is gone', after => $after, status => 'partial');
    $rig->cmd_start('rollback', 'mapping', 'rollback', '1');
    $rig->must('scope', 'set', 'stripe', 'all');
    is $rig->cmd_end('rollback', 20), 0, 'the first mapping is in force again';
    wait_for('the full sync of all of Stripe ends', 30, sub {
        $rig->value("select count(*) from psync.run where status in ('queued', 'running')") == 0;
    });

    my ($a, $b) = map { $rig->sim_hubspot(GET => "companies/$_")->{properties}{domain} }
        @companies[0, 1];
    $rig->sim_hubspot(PATCH => "companies/$companies[2]", {properties => {domain => $a}});
    wait_for('two customers have one domain', 20, sub {
        $rig->value("select count(*) from psync_bi.customer where domain = '$a'") == 2;
    });
    my @stripe = (
        ['match_none', 'a domain that nobody has', 'billing@nobody-has-this.example', 'partial'],
        ['match_ambiguous', 'a domain that two customers have', "billing\@$a", 'partial'],
        ['match_personal_email', 'a personal mailbox', 'jane@gmail.com', 'skipped'],
        ['match_no_key', 'no e-mail address', undef, 'partial'],
        ['duplicate_source', 'a second Stripe customer of one domain', "second\@$b", 'partial'],
    );
    $rig->sim_stripe(POST => 'customers', {name => 'first', email => "first\@$b"});
    wait_for('a first Stripe customer of that domain', 20, sub {
        $rig->value("select mrr is not null from psync_bi.customer where domain = '$b'") eq 't';
    });
    for my $case (@stripe) {
        my ($code, $how, $email, $status) = @$case;
        $after = mark();
        my $customer = $rig->sim_stripe(POST => 'customers', {name => $code, email => $email});
        row_of($code, $how, after => $after, where => "record_id = '$customer->{id}'",
            status => $status);
    }
    $after = mark();
    my $euro = $rig->sim_stripe(POST => 'customers', {name => 'Euro',
        email => "third\@" . $rig->sim_hubspot(GET => "companies/$companies[3]")->{properties}{domain},
        notify => $no});
    my $subscription = $rig->sim_stripe(POST => 'subscriptions', {customer => $euro->{id},
        status => 'active', currency => 'eur', items => [{price => 'price_1SimStarterEur', quantity => 1}]});
    wait_for('a subscription in euro is mirrored', 20, sub {
        $rig->value("select count(*) from psync.record where record_id = '$subscription->{id}'");
    });
    $rig->cmd('resync', 'stripe', $euro->{id});
    row_of('map_currency_unmapped', 'a subscription in another currency only', after => $after,
        status => 'partial');
}

# ---- by the list ----
{
    my $after = mark();
    $rig->sim_hubspot(DELETE => 'lists/42');
    $rig->cmd('run-now', 'hubspot', '--wait', '--timeout', '60s');
    row_of('list_not_found', 'the mirrored list is deleted', after => $after, status => 'failed');
    is state_of('hubspot'), 'connected', 'list_not_found: the banner stays';
    $rig->sim_hubspot(POST => 'lists/42/restore');

    my @members = @{$rig->sim_hubspot(GET => 'lists/42/members')->{members}};
    $rig->sim_hubspot(PUT => 'lists/42/members', {members => [@members[0 .. 9]]});
    $after = mark();
    $rig->cmd('run-now', 'hubspot', '--wait', '--timeout', '60s');
    row_of('mass_removal_guard', 'the list shrinks to ten', after => $after, status => 'failed');
    $rig->sim_hubspot(PUT => 'lists/42/members', {members => \@members});

    $after = mark();
    my $n = scalar @members;
    fault(provider => 'hubspot', path => '/crm/lists/2026-03/42/memberships', times => -1,
        replace => [{find => qq("total":$n), with => '"total":' . ($n + 7)}]);
    $rig->cmd('run-now', 'hubspot', '--wait', '--timeout', '60s');
    row_of('mirror_incomplete', 'a list that counts seven more than it names', after => $after,
        status => 'failed');
    calm();
    $after = mark();
    $rig->cmd('run-now', 'hubspot', '--wait', '--timeout', '60s');
    wait_for('mirror_incomplete: the next run resolves it', 20, sub {
        $rig->value("select bool_and(resolved) from psync_bi.sync_log where record_id is null
            and error_code in ('mirror_incomplete', 'list_not_found', 'mass_removal_guard')") eq 't';
    });
}

# ---- by a person ----
{
    my $after = mark();
    $rig->must('connection', 'pause', 'hubspot');
    $rig->cmd('resync', 'hubspot', $companies[0]);
    row_of('connection_paused', 'a resync while the connection is paused', after => $after,
        where => "record_id = '$companies[0]'", status => 'skipped');
    $rig->must('connection', 'resume', 'hubspot');
    wait_for('connection_paused: it runs when it is resumed', 20, sub {
        $rig->value("select count(*) from psync.attempt where record_id = '$companies[0]'
            and attempt_id > $after and status = 'succeeded'");
    });
    fault(provider => 'hubspot', hold_ms => 3000, times => -1, regex => 'memberships');
    $rig->cmd('run-now', 'hubspot');
    my $run = $rig->value("select max(run_id) from psync.run where status in ('queued', 'running')");
    $rig->must('run', 'cancel', $run);
    row_of('job_cancelled', 'a person cancels a run', after => $after, where => "run_id = $run",
        status => 'cancelled');
    calm();
}

# ---- by a catch-up ----
sub catch_up { # at once
    my ($provider) = @_;
    $rig->value("update psync.connection set last_catch_up_at = null, last_delivery_at = null
        where provider = '$provider'");
    $rig->must('run-now', $provider, '--incremental');
    return;
}
{
    my $after = mark();
    for my $case (['rate_limit_search', {error => 'rate-search'}],
        ['search_window_exceeded', {status => 400, body => {status => 'error',
            message => 'Request exceeds the 10,000 results of a search'}}]) {
        my ($code, $fault) = @$case;
        fault(provider => 'hubspot', regex => '/search', times => -1, %$fault);
        catch_up('hubspot');
        row_of($code, 'the search of a catch-up is refused', after => $after, status => 'retrying');
        calm();
    }
    # Our own share of the search calls is used up for a while.
    $rig->redis('eval', q{
        local t = redis.call('time')
        redis.call('hset', '{ps0}:q:' .. ARGV[1] .. ':search', 'tat',
            string.format('%.0f', t[1] * 1000 + 60000), 'cl', string.format('%.0f', t[1] * 1000 + 9000))
        return 1}, 0, 'hubspot:' . Psync::PORTAL . ':live');
    catch_up('hubspot');
    row_of('quota_reserved', 'the share of search calls is used up', after => $after,
        status => 'skipped', later => 1);
    calm();

    # Nothing is delivered any more, and it was so for longer than a business day.
    my $missed = $companies[1];
    $rig->sim(POST => 'webhooks/config', {hubspot => {subscriptions => 'listed'}});
    $rig->value("update psync.record_seen set fetched_at = now() - interval '1 hour'
        where record_id = '$missed'");
    $rig->value("update psync.connection set last_incremental_at = now() - interval '8 days',
        watermark_at = now() - interval '30 minutes' where connection_id = $hubspot");
    $rig->sim_hubspot(PATCH => "companies/$missed", {properties => {industry => 'MISSED'},
        updated_at_ms => int((time - 300) * 1000)});
    $after = mark();
    # A delivery that was still under way moves the clock: then once more.
    for (1 .. 4) {
        $rig->value("update psync.record_seen set fetched_at = now() - interval '1 hour'
            where record_id = '$missed'");
        $rig->value("update psync.connection set last_incremental_at = now() - interval '8 days',
            watermark_at = now() - interval '30 minutes' where connection_id = $hubspot");
        catch_up('hubspot');
        last if Psync::until_true(20, sub {
            $rig->value("select count(*) from psync.attempt where attempt_id > $after
                and error_code = 'wh_silent'");
        });
    }
    row_of('wh_missed_events', 'a change that no delivery told of', after => $after,
        status => 'succeeded');
    row_of('wh_subscription_off', 'the app has no subscription that is on', after => $after,
        status => 'failed');
    row_of('wh_silent', 'no delivery for eight days', after => $after, status => 'failed');
    is(($rig->cmd('webhook', 'status', 'hubspot'))[0], 6, 'wh_subscription_off: and is shown');
    is(($rig->cmd('webhook', 'repair', 'hubspot'))[0], 0, 'wh_subscription_off: it can be repaired');
    $rig->sim_hubspot(PATCH => "companies/$missed", {properties => {industry => 'TOLD'}});
    wait_for('wh_subscription_off: then deliveries come', 20, sub {
        $rig->value("select count(*) from psync_bi.sync_log where record_id = '$missed'
            and attempt_id > $after and trigger = 'webhook'");
    });
    catch_up('hubspot');
    wait_for('wh_silent: a catch-up that misses nothing resolves it', 20, sub {
        $rig->value("select bool_and(resolved) from psync_bi.sync_log where attempt_id > $after
            and error_code in ('wh_silent', 'wh_subscription_off')") eq 't';
    });
}

# ---- at the gateway ----
my @receipts;

sub receipt {
    my ($code, $how, $delivery, $status) = @_;
    is $rig->post($delivery)->{status}, $status, "$code: the gateway answers $status";
    push @receipts, [$code, $how];
    return;
}

sub receipt_is_there {
    my ($code, $how) = @_;
    my $row = wait_for("$code: its receipt ($how)", 20, sub {
        my ($found) = $rig->rows("select * from psync.webhook_event where verdict = '$code'");
        return $found;
    }) or return;
    wait_for("$code: readers of the views see it", 10, sub {
        $rig->value("select sum(events) from psync_bi.webhook_health_hourly where verdict = '$code'");
    });
    $provoked{$code} //= $how;
    return;
}
{
    my $url = "$rig->{gateway}/webhooks/hubspot";
    my $event = $rig->stripe_event('customer.updated', {id => $customers[4], object => 'customer'});
    receipt('wh_signature_invalid', 'signed with another secret',
        $rig->stripe_delivery($event, secret => 'whsec_wrong'), 401);
    receipt('wh_signature_missing', 'no signature', $rig->stripe_delivery($event,
        signature => undef), 401);
    receipt('wh_timestamp_old', 'signed ten minutes ago', $rig->stripe_delivery($event,
        at => int(time) - 600), 401);
    receipt('wh_malformed', 'signed, and no JSON', $rig->stripe_delivery('not json'), 400);
    receipt('wh_unknown_account', 'of a portal that nobody connected',
        $rig->hubspot_delivery($rig->hubspot_events({portalId => 99, objectId => 1})), 200);
    is $rig->post($rig->stripe_delivery($event))->{status}, 200, 'a good delivery';
    receipt('duplicate_event', 'the same event again', $rig->stripe_delivery($event), 200);
    receipt('coalesced', 'the rest of an import with 1,001 events', $rig->hubspot_delivery(
        $rig->hubspot_events(map { {objectId => 0 + $companies[0], changeSource => 'IMPORT',
            propertyName => 'name', propertyValue => 'x'} } 1 .. 1001)), 200);
    receipt_is_there(@$_) for @receipts;
}

# ---- when PostgreSQL does not take it ----
{
    my %refused = (db_rejected => ['23514', 'failed'], db_conflict => ['40001', 'retrying'],
        db_full => ['53100', 'retrying']);
    for my $code (sort keys %refused) {
        my ($state, $status) = @{$refused{$code}};
        my $id = shift @companies;
        $rig->value("create or replace function psync.refuse() returns trigger language plpgsql as
            \$\$ begin raise exception 'refused by the test' using errcode = '$state'; end \$\$");
        $rig->value("create trigger refuse before insert or update on psync.record for each row
            when (new.record_id = '$id') execute function psync.refuse()");
        my $after = mark();
        $rig->sim_hubspot(PATCH => "companies/$id", {properties => {industry => $code}});
        row_of($code, "PostgreSQL answers $state", after => $after, where => "record_id = '$id'",
            status => $status);
        $rig->value('drop trigger refuse on psync.record');
        $rig->must('resync', 'hubspot', $id, '--wait', '--timeout', '60s') if $code ne 'db_full';
    }
}

# ---- a provider that is down ----
{
    my $after = mark();
    fault(provider => 'stripe', path => '/v1/customers', times => -1, error => 'unavailable');
    $rig->cmd('resync', 'stripe', $_) for @customers[6 .. 12];
    row_of('circuit_open', 'five calls in a row are answered 503', after => $after,
        status => 'retrying');
    calm();
}
row_of('timeout_read', 'an answer that does not come for 30 s', after => $slow_mark,
    where => "record_id = '$slow'", status => 'retrying', seconds => 60);

# The change was made at the start, and nothing told of it.
{
    $rig->must('webhook', 'repair', 'stripe');
    my ($endpoint) = @{$rig->sim_stripe(GET => 'webhook_endpoints')};
    $rig->sim_stripe(PATCH => "webhook_endpoints/$endpoint->{id}", {status => 'disabled'});
    $rig->value("update psync.record_seen set fetched_at = now() - interval '1 hour'
        where record_id = '$untold'");
    $rig->value("update psync.connection set watermark_at = now() - interval '30 minutes'
        where connection_id = $stripe");
    my $after = mark();
    catch_up('stripe');
    row_of('wh_endpoint_disabled', 'the endpoint at Stripe is disabled', after => $after,
        status => 'failed');
    $rig->must('connection', 'connect', 'stripe', '--token-file', $rig->secret_file('s',
        Psync::STRIPE_KEY), '--webhook-secret-file', $rig->secret_file('w', Psync::STRIPE_SECRET));
}

# ---- a network that is not as it should be ----
# A worker with other settings; the commands keep theirs. What failed before comes to it at once.
sub worker_with {
    my (%more) = @_;
    # At once: what it retries meanwhile may take ten seconds each.
    $rig->stop('worker', 'KILL');
    leases_run_out();
    calm();
    local $rig->{settings} = {%own, %more};
    $rig->start('worker');
    return;
}

# [code, provider, id, how, options of row_of()]: all at once.
sub by_network {
    my @cases = @_;
    my $after = mark();
    $rig->cmd('resync', @$_[1, 2]) for @cases;
    for my $case (@cases) {
        my ($code, $provider, $id, $how, %o) = @$case;
        row_of($code, $how, after => $after, where => "record_id = '$id'", seconds => 40, %o);
    }
    return;
}
my $full = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1');    # and never accepts
my @waiting = map {
    IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . $full->sockport, Blocking => 0)
} 1 .. 6;
my $closed = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1')->sockport;

# What is still to be tried again would fail as well, and five in a row open the breaker.
calm();
wait_for('nothing is left to do before the network fails', 60, sub { $rig->idle });

# The slow one first, so that no other repeats its ten seconds.
worker_with(HUBSPOT_API_BASE => "https://127.0.0.1:$port",
    STRIPE_API_BASE => 'http://127.0.0.1:' . $full->sockport);
by_network(['timeout_connect', 'stripe', $customers[14], 'a server that accepts nobody',
        status => 'retrying'],
    ['tls_failed', 'hubspot', shift @companies, 'a server that speaks no TLS', status => 'failed']);
worker_with(HUBSPOT_API_BASE => 'http://nowhere.invalid',
    STRIPE_API_BASE => "http://127.0.0.1:$closed");
by_network(['dns_failed', 'hubspot', shift @companies, 'a host name that does not exist',
        status => 'retrying'],
    ['connect_failed', 'stripe', $customers[13], 'a port where nobody listens',
        status => 'retrying']);
worker_with(HUBSPOT_API_BASE => "https://127.0.0.1:$port",
    ALLOW_PRIVATE_PROVIDER_HOSTS => 'off', STRIPE_API_BASE => 'https://127.0.0.1:1');
by_network(['config_error', 'hubspot', shift @companies,
        'a private address that is not allowed', status => 'failed', parked => $hubspot]);

# ---- our own trouble ----
{
    worker_with(JOB_TIMEOUT_S => 1);
    my $id = shift @companies;
    fault(provider => 'hubspot', hold_ms => 1500, times => -1, contains => $id);
    by_network(['job_timeout', 'hubspot', $id, 'a job of two slow calls, allowed one second',
            status => 'retrying']);
    calm();

    $rig->stop('worker');
    my $after = mark();
    $rig->cmd('run-now', 'stripe');
    $rig->value("update psync.run_chunk set object_type = 'unicorn' where status = 'queued'
        and run_id = (select max(run_id) from psync.run) and object_type = 'coupon'");
    $rig->start('worker');
    row_of('internal_error', 'a chunk of a type that does not exist', after => $after,
        status => 'failed');

    # The worker dies in the middle, again and again.
    $id = shift @companies;
    $after = mark();
    my $killer = "$rig->{dir}/crash";
    mkdir $killer;
    $rig->stop('worker');
    {
        local $rig->{settings} = {%own, TEST_CRASH_DIR => $killer};
        $rig->start('worker');
    }
    calm();
    wait_for('worker_lost: nothing else is to be done', 60, sub { $rig->idle });
    fault(provider => 'hubspot', path => "/crm/objects/2026-03/companies/$id", times => -1,
        until_released => $yes);
    open my $arm, '>', "$killer/fetch.before";
    close $arm;
    $rig->cmd('resync', 'hubspot', $id);
    row_of('worker_lost', 'a worker is killed with work in hand', after => $after,
        where => "record_id = '$id'", status => 'interrupted');
    my $until = time + 60;
    my $buried = 0;
    while (!$buried && time < $until) {
        if (!-e "$killer/fetch.before") {
            leases_run_out();
            open $arm, '>', "$killer/fetch.before";
            close $arm;
        }
        # One that passed the point before it was armed holds its answer: it dies, too.
        kill 'KILL', $rig->children_of($rig->pid('worker'))
            if grep { $_->{held} } @{$rig->faults};
        sleep 0.1;    # how often it looks; $until is the deadline
        $buried = $rig->value("select count(*) from psync.attempt where error_code = 'poison_job'");
    }
    row_of('poison_job', 'five workers die over one record', after => $after,
        where => "record_id = '$id'", status => 'failed');
    unlink "$killer/fetch.before";
    calm();
    $rig->stop('worker');
    $rig->start('worker');
    $rig->must('resync', 'hubspot', $id, '--wait', '--timeout', '60s');

    $after = mark();
    $rig->stop_redis;
    $rig->cmd('queue', 'stats');
    $rig->start_redis;
    row_of('queue_unavailable', 'Redis is stopped', after => $after, status => 'interrupted');

    $after = mark();
    wait_for('db_unavailable: the queue is there again', 30, sub { $rig->idle });
    $rig->stop_postgres;
    $rig->deliver_hubspot($rig->hubspot_events({objectId => 0 + $companies[0],
        propertyName => 'name', propertyValue => 'x'}));
    wait_for('db_unavailable: a worker gives its units back', 30, sub {
        $rig->log_text('worker') =~ /job\.give_back/;
    });
    $rig->start_postgres;
    row_of('db_unavailable', 'PostgreSQL is stopped while work comes in', after => $after,
        status => 'interrupted', seconds => 40);
}

# ---- all of them ----
my %cannot = ();    # code => why not
for my $code (@codes) {
    if ($provoked{$code}) {
        pass("$code provoked-by $provoked{$code}: ok");
        note("$code\t$provoked{$code}\tok");
    }
    elsif ($cannot{$code}) {
        diag("$code: not provoked: $cannot{$code}");
    }
    else {
        fail("$code was not provoked");
    }
}
is_deeply [grep { !$type{$_} } sort keys %provoked], [], 'none that is not in the table';
is_deeply [map { $_->{error_code} } $rig->rows(q{select distinct error_code from psync_bi.sync_log
    where error_code <> '' and error_title is null})], [], 'the log has no unknown error type';
is $rig->value("select count(*) from psync_bi.sync_log where retry_of is not null"
    . " and trigger <> 'nightly'") > 0, 1, 'tries that repeat others name them';
done_testing;
