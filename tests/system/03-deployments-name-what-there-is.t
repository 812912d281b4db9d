#!/usr/bin/perl
# What is deployed names programs, settings, ports and probes that exist: the systemd units, the
# compose file and the Kubernetes manifests, each read by the tool that will read it.
use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(basename dirname);
use File::Copy qw(copy);
use File::Temp qw(tempdir);
use Test::More;

my $root = abs_path(dirname(__FILE__) . '/../..');
my $bin = $ENV{BIN} // "$root/build/bin";
plan skip_all => "no pivotal-sync in $bin" unless -x "$bin/pivotal-sync";
chdir $root or die;
delete $ENV{$_} for grep { /^PIVOTAL_SYNC_/ || /^(DATABASE|REDIS)_URL$/ } keys %ENV;

my $settings = `$bin/pivotal-sync reference settings`;
my %program = map { basename($_) => 1 } glob("$bin/pivotal-sync*");

sub have { return system('sh', '-c', "command -v $_[0] >/dev/null") == 0 }
sub slurp {
    open my $f, '<', $_[0] or return '';
    local $/;
    return scalar(<$f>) // '';
}
sub only_real_settings {
    my ($where, $text) = @_;
    my @unknown;
    for my $name ($text =~ /\bPIVOTAL_SYNC_([A-Z_]+)\b/g) {
        $name =~ s/_FILE$//;
        push @unknown, $name unless $settings =~ /`\Q$name\E`/;
    }
    return is "@unknown", '', "$where sets real settings";
}
sub only_real_programs {
    my ($where, @names) = @_;
    my @unknown = grep { !$program{$_} } @names;
    ok scalar @names, "$where runs programs";
    return is "@unknown", '', "$where runs real programs";
}

# ---- systemd ----
my @units = glob('deploy/systemd/*.service');
for my $unit (@units) {
    only_real_programs($unit, slurp($unit) =~ m{^ExecStart=/usr/bin/(\S+)}mg);
}
only_real_settings('the settings file', join ' ',
    map { "PIVOTAL_SYNC_$_" } slurp('deploy/pivotal-sync.conf') =~ /^#?([A-Z_]+)=/mg);
SKIP: {
    skip 'systemd-analyze is not installed', 2 * @units unless have('systemd-analyze');
    # Beside each other, as installed: the drop-in is for all of them. Programs and pages that
    # are not installed here are all that may be missing.
    my $folder = tempdir(CLEANUP => 1);
    system('cp', '-r', glob('deploy/systemd/*'), $folder) == 0 or die 'cp';
    for my $name (map { basename($_) =~ s/@\./\@1./r } @units) {
        my @wrong = grep { /\Q$folder\E|\bpivotal-sync-\.service\.d\b|Unknown|Failed to parse/ }
            `systemd-analyze verify $folder/$name 2>&1`;
        is "@wrong", '', "$name is read without complaint";
        my ($exposure) = `systemd-analyze security --offline=true $folder/$name 2>&1`
            =~ /Overall exposure level for \S+: ([\d.]+)/;
        cmp_ok $exposure // 10, '<=', 1.5, "$name: exposure";
    }
}

# ---- compose ----
my $compose = slurp('docker-compose.yml');
only_real_settings('compose', $compose);
only_real_programs('compose', $compose =~ /^\s+command: \[(pivotal-sync[\w-]*)/mg);
SKIP: {
    my ($tool) = grep { have($_) } 'docker-compose';
    skip 'docker-compose is not installed', 1 unless $tool;
    my $folder = tempdir(CLEANUP => 1);
    copy('docker-compose.yml', $folder) or die;
    copy('deploy/env.example', "$folder/.env") or die;
    my $profiles = join ' ', map { "--profile $_" } qw(demo tls monitoring);
    my $said = `cd $folder && $tool $profiles config --quiet 2>&1`;
    is $said . ($? >> 8), '0', "$tool reads it with the example's settings";
    my $whole = `cd $folder && $tool $profiles config 2>/dev/null`;
    my ($services) = $whole =~ /^services:\n((?:  .*\n)+)/m;
    my (undef, %service) = split /^  ([\w-]+):\n/m, $services;
    for my $name (qw(postgres redis migrate webhook-gw scheduler worker admin demo proxy prometheus grafana)) {
        ok $service{$name}, "there is a service $name";
    }
    for my $name (sort grep { $service{$_} =~ /^    image: pivotal-sync/m } keys %service) {
        my $text = $service{$name};
        like $text, qr/^    read_only: true$/m, "$name writes to no file system";
        like $text, qr/^    cap_drop:\n\s+- ALL$/m, "$name has no capability";
        like $text, qr/no-new-privileges:true/, "$name gains none";
        next if $name =~ /^(?:demo|migrate)$/;    # ends by itself, or holds several
        my ($words) = $text =~ /^      test:\n((?:\s+- .*\n)+)/m;
        is join(' ', ($words // '') =~ /- (.*)/g), 'CMD pivotal-sync health',
            "$name tells its health by itself";
    }
    my ($asked) = slurp('deploy/prometheus/prometheus.yml') =~ /names: \[(.*)\]/;
    is join(' ', grep { !$service{$_} } split /, /, $asked), '', 'Prometheus asks services that are there';
}
my %used = map { $_ => 1 } $compose =~ /\$\{(\w+)/g;
my %filled = map { $_ => 1 } slurp('deploy/env.example') =~ /^#?([A-Z_]+)=/mg;
is join(' ', sort grep { !$filled{$_} } keys %used), '', 'what compose asks for is in env.example';
is join(' ', sort grep { !$used{$_} } keys %filled), '', 'and nothing else is';
is join(' ', grep { !-e } $compose =~ /"(\.\/[^:"]+):/g), '', 'what is mounted is there';
my @stages = split /^(?=FROM )/m, slurp('Dockerfile');
is join(' ', map { /(\S+)\n/ } grep { /^FROM \S+ AS (?:runtime|demo)/ && (/^USER (\S+)/mg)[-1] ne 'psync' } @stages),
    '', 'no image runs as root';
SKIP: {
    skip 'promtool is not installed', 1 unless have('promtool');
    my $said = `promtool check config deploy/prometheus/prometheus.yml 2>&1`;
    is $?, 0, 'Prometheus reads its settings and the rules' or diag $said;
}
SKIP: {
    skip 'caddy is not installed', 1 unless have('caddy');
    local %ENV = (%ENV, WEBHOOK_DOMAIN => 'hooks.example.com', ADMIN_DOMAIN => 'admin.example.com',
        WEBHOOK_UPSTREAM => 'webhook-gw:8480', ADMIN_UPSTREAM => 'admin:8481');
    my $said = `caddy validate --config deploy/caddy/Caddyfile --adapter caddyfile 2>&1`;
    is $?, 0, 'the proxy reads its settings' or diag $said;
}

# ---- Kubernetes ----
SKIP: {
    skip 'kubectl is not installed', 1 unless have('kubectl');
    my $text = `kubectl kustomize deploy/kubernetes 2>/dev/null`;
    is $?, 0, 'kustomize reads the manifests';
    only_real_settings('Kubernetes', $text);
    only_real_programs('Kubernetes', $text =~ /command:\n\s+- (pivotal-sync\S*)/g);
    my @documents = split /^---\n/m, $text;
    my %kind;
    for my $d (@documents) {
        my ($kind) = $d =~ /^kind: (\w+)/m;
        my ($name) = $d =~ /^metadata:\n(?:  .*\n)*?  name: (\S+)/m;
        $kind{$kind}{$name} = $d;
    }
    my ($config) = keys %{$kind{ConfigMap}};
    for my $d (values %{$kind{Deployment}}, values %{$kind{Job}}) {
        my ($name) = $d =~ /^metadata:\n(?:  .*\n)*?  name: (\S+)/m;
        like $d, qr/configMapRef:\n\s+name: \Q$config\E\b/, "$name has the settings";
        like $d, qr{mountPath: /etc/pivotal-sync/credentials}, "$name has the secrets";
        like $d, qr/runAsNonRoot: true/, "$name is no root";
        like $d, qr/readOnlyRootFilesystem: true/, "$name writes to no file system";
        my %port = map { $_ => 1 } $d =~ /containerPort: \d+\n\s+name: (\S+)/g;
        my @asked = $d =~ /httpGet:\n\s+path: \/\w+\n\s+port: (\S+)/g;
        is join(' ', grep { !$port{$_} } @asked), '', "$name is probed at ports it has";
    }
    for my $d (values %{$kind{PodDisruptionBudget}}, values %{$kind{Service}}) {
        my ($component) = $d =~ /selector:\n(?:.*\n)*?.*component: (\S+)/;
        ok $kind{Deployment}{"pivotal-sync-$component"}, "a selector finds $component";
    }
    my ($scaler) = values %{$kind{HorizontalPodAutoscaler}};
    my ($scaled) = $scaler =~ /scaleTargetRef:\n(?:    .*\n)*?    name: (\S+)/;
    ok $kind{Deployment}{$scaled}, "the scaler finds $scaled";
}

done_testing;
