/* An SCTP peer on usrsctp, for the tests beside it: UDP encapsulation, one association, orders on standard input, news on
 * standard output.
 *
 * peer server|client UDP_PORT REMOTE_UDP_PORT SCTP_PORT LOCAL[,LOCAL…] [REMOTE[,REMOTE…]] [NAME=NUMBER…]
 *
 * Names: streams, idata, auth, asconf, reconfig, pr (0 or 1), heartbeat and rto_max (milliseconds), path_max_retrans.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <usrsctp.h>

#define INTERLEAVING_SUPPORTED 0x00001206 /* missing in usrsctp.h */
#define LONGEST (1 << 20)
#define STREAMS 65536

static uint32_t crc_table[256];
static struct { uint32_t crc; size_t length; } partial[STREAMS];
static uint32_t stream_crc[STREAMS];
static unsigned long long total_bytes, total_messages;
static int client, quiet, echoing;
static unsigned char *echo_data;
static struct socket *volatile peer;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int streams = 64, idata = 0, auth = 1, asconf = 1, reconfig = 1, pr = 1, heartbeat = 0, rto_max = 0, path_max_retrans = 0;

static void say(const char *format, ...) {
	va_list arguments;
	va_start(arguments, format);
	pthread_mutex_lock(&lock);
	vprintf(format, arguments);
	putchar('\n');
	fflush(stdout);
	pthread_mutex_unlock(&lock);
	va_end(arguments);
}

static uint32_t crc32_of(uint32_t crc, const unsigned char *data, size_t length) {
	crc = ~crc;
	while (length--) crc = crc_table[(crc ^ *data++) & 0xff] ^ (crc >> 8);
	return ~crc;
}

static void fail(const char *what) {
	say("error %s: %s", what, strerror(errno));
	exit(1);
}

static void option(struct socket *sock, int name, const void *value, socklen_t length, const char *what) {
	if (usrsctp_setsockopt(sock, IPPROTO_SCTP, name, value, length) < 0) fail(what);
}

static int addresses(char *list, int port, struct sockaddr_in *into) {
	int count = 0;
	for (char *one = strtok(list, ","); one != NULL && count < 16; one = strtok(NULL, ",")) {
		memset(&into[count], 0, sizeof into[count]);
		into[count].sin_family = AF_INET;
		into[count].sin_port = htons(port);
		if (inet_pton(AF_INET, one, &into[count++].sin_addr) != 1) fail("address");
	}
	return count;
}

static void set_options(struct socket *sock, int remote_udp_port) {
	struct sctp_initmsg init = {.sinit_num_ostreams = streams, .sinit_max_instreams = streams};
	struct sctp_assoc_value value = {.assoc_id = SCTP_FUTURE_ASSOC};
	struct sctp_udpencaps encapsulation = {.sue_assoc_id = SCTP_FUTURE_ASSOC, .sue_port = htons(remote_udp_port)};
	int one = 1, two = 2;
	static const uint16_t types[] = {SCTP_ASSOC_CHANGE, SCTP_PEER_ADDR_CHANGE, SCTP_REMOTE_ERROR, SCTP_SHUTDOWN_EVENT,
		SCTP_ADAPTATION_INDICATION, SCTP_STREAM_RESET_EVENT, SCTP_ASSOC_RESET_EVENT, SCTP_STREAM_CHANGE_EVENT, SCTP_SEND_FAILED_EVENT,
		SCTP_PARTIAL_DELIVERY_EVENT};

	encapsulation.sue_address.ss_family = AF_INET;
	option(sock, SCTP_REMOTE_UDP_ENCAPS_PORT, &encapsulation, sizeof encapsulation, "REMOTE_UDP_ENCAPS_PORT");
	option(sock, SCTP_INITMSG, &init, sizeof init, "INITMSG");
	option(sock, SCTP_NODELAY, &one, sizeof one, "NODELAY");
	option(sock, SCTP_RECVRCVINFO, &one, sizeof one, "RECVRCVINFO");
	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		struct sctp_event event = {.se_assoc_id = SCTP_FUTURE_ASSOC, .se_type = types[i], .se_on = 1};
		option(sock, SCTP_EVENT, &event, sizeof event, "EVENT");
	}
	value.assoc_value = SCTP_ENABLE_RESET_STREAM_REQ | SCTP_ENABLE_RESET_ASSOC_REQ | SCTP_ENABLE_CHANGE_ASSOC_REQ;
	option(sock, SCTP_ENABLE_STREAM_RESET, &value, sizeof value, "ENABLE_STREAM_RESET");
	value.assoc_value = reconfig;
	option(sock, SCTP_RECONFIG_SUPPORTED, &value, sizeof value, "RECONFIG_SUPPORTED");
	value.assoc_value = pr;
	option(sock, SCTP_PR_SUPPORTED, &value, sizeof value, "PR_SUPPORTED");
	value.assoc_value = asconf && auth;
	if (!value.assoc_value) option(sock, SCTP_ASCONF_SUPPORTED, &value, sizeof value, "ASCONF_SUPPORTED");
	value.assoc_value = auth;
	option(sock, SCTP_AUTH_SUPPORTED, &value, sizeof value, "AUTH_SUPPORTED");
	if (idata) {
		option(sock, SCTP_FRAGMENT_INTERLEAVE, &two, sizeof two, "FRAGMENT_INTERLEAVE");
		value.assoc_value = 1;
		option(sock, INTERLEAVING_SUPPORTED, &value, sizeof value, "INTERLEAVING_SUPPORTED");
	}
	if (rto_max) {
		struct sctp_rtoinfo rto = {.srto_assoc_id = SCTP_FUTURE_ASSOC, .srto_initial = rto_max, .srto_min = rto_max, .srto_max = rto_max};
		option(sock, SCTP_RTOINFO, &rto, sizeof rto, "RTOINFO");
	}
	if (heartbeat || path_max_retrans) {
		struct sctp_paddrparams path = {.spp_assoc_id = SCTP_FUTURE_ASSOC, .spp_hbinterval = heartbeat, .spp_pathmaxrxt = path_max_retrans};
		path.spp_address.ss_family = AF_INET;
		path.spp_flags = heartbeat ? SPP_HB_ENABLE : 0;
		option(sock, SCTP_PEER_ADDR_PARAMS, &path, sizeof path, "PEER_ADDR_PARAMS");
	}
}

static const char *ip(const struct sockaddr_storage *address) {
	static char text[INET_ADDRSTRLEN];
	return inet_ntop(AF_INET, &((const struct sockaddr_in *)address)->sin_addr, text, sizeof text);
}

static void list_streams(char *into, size_t room, const uint16_t *list, size_t bytes) {
	*into = 0;
	for (size_t i = 0; i < bytes / 2; i++) snprintf(into + strlen(into), room - strlen(into), " %u", list[i]);
}

static void tell(const union sctp_notification *news, size_t length) {
	char text[512];
	switch (news->sn_header.sn_type) {
	case SCTP_ASSOC_CHANGE: {
		const struct sctp_assoc_change *change = &news->sn_assoc_change;
		static const char *states[] = {"", "up", "lost", "restart", "closed", "refused"};
		int count = snprintf(text, sizeof text, "%s %u %u", states[change->sac_state], change->sac_inbound_streams, change->sac_outbound_streams);
		if (change->sac_state == SCTP_COMM_UP && client) say("connected");
		if (change->sac_state == SCTP_COMM_UP)
			for (size_t i = 0; i < change->sac_length - sizeof *change; i++) {
				static const char *names[] = {"", "pr", "auth", "asconf", "multibuf", "reconfig", "interleaving"};
				count += snprintf(text + count, sizeof text - count, " %s", names[change->sac_info[i] % 7]);
			}
		say("%s", text);
		break;
	}
	case SCTP_PEER_ADDR_CHANGE: {
		static const char *states[] = {"", "available", "unreachable", "removed", "added", "primary", "confirmed"};
		say("address %s %s", ip(&news->sn_paddr_change.spc_aaddr), states[news->sn_paddr_change.spc_state % 7]);
		break;
	}
	case SCTP_STREAM_RESET_EVENT:
		list_streams(text, sizeof text, news->sn_strreset_event.strreset_stream_list, length - sizeof news->sn_strreset_event);
		say("reset %s%s%s", news->sn_strreset_event.strreset_flags & SCTP_STREAM_RESET_INCOMING_SSN ? "incoming" : "outgoing",
			news->sn_strreset_event.strreset_flags & (SCTP_STREAM_RESET_DENIED | SCTP_STREAM_RESET_FAILED) ? " failed" : "", text);
		break;
	case SCTP_ASSOC_RESET_EVENT: say("tsn-reset %u", news->sn_assocreset_event.assocreset_flags); break;
	case SCTP_STREAM_CHANGE_EVENT:
		say("streams %u %u %u", news->sn_strchange_event.strchange_instrms, news->sn_strchange_event.strchange_outstrms,
			news->sn_strchange_event.strchange_flags);
		break;
	case SCTP_SEND_FAILED_EVENT: say("failed %u", news->sn_send_failed_event.ssfe_info.snd_sid); break;
	case SCTP_SHUTDOWN_EVENT: say("shutdown"); break;
	case SCTP_REMOTE_ERROR: say("remote-error %u", ntohs(news->sn_remote_error.sre_error)); break;
	case SCTP_ADAPTATION_INDICATION: say("adaptation %u", news->sn_adaptation_event.sai_adaptation_ind); break;
	case SCTP_PARTIAL_DELIVERY_EVENT: say("aborted-partial %u", news->sn_pdapi_event.pdapi_stream); break;
	default: say("notification %u", news->sn_header.sn_type);
	}
}

static void answer(struct socket *sock, const struct sctp_rcvinfo *info, const unsigned char *data, size_t length) {
	struct sctp_sndinfo reply = {.snd_sid = info->rcv_sid, .snd_flags = info->rcv_flags & SCTP_UNORDERED, .snd_ppid = info->rcv_ppid};
	if (usrsctp_sendv(sock, data, length, NULL, 0, &reply, sizeof reply, SCTP_SENDV_SNDINFO, 0) < 0) say("error echo: %s", strerror(errno));
}

static void *receive(void *argument) {
	struct socket *sock = argument;
	unsigned char *data = malloc(LONGEST);
	for (;;) {
		struct sctp_rcvinfo info = {0};
		socklen_t length = sizeof info;
		unsigned int type = 0;
		int flags = 0;
		ssize_t count = usrsctp_recvv(sock, data, LONGEST, NULL, NULL, &info, &length, &type, &flags);
		if (count <= 0) {
			say("end %s", count < 0 ? strerror(errno) : "eof");
			free(data);
			return NULL;
		}
		if (flags & MSG_NOTIFICATION) {
			tell((const union sctp_notification *)data, count);
			continue;
		}
		uint16_t stream = info.rcv_sid;
		if (echoing && partial[stream].length + count <= LONGEST) memcpy(echo_data + partial[stream].length, data, count);
		partial[stream].crc = crc32_of(partial[stream].crc, data, count);
		partial[stream].length += count;
		stream_crc[stream] = crc32_of(stream_crc[stream], data, count);
		total_bytes += count;
		if (!(flags & MSG_EOR)) continue;
		total_messages++;
		if (!quiet)
			say("message %u %u %zu %d %08x", stream, ntohl(info.rcv_ppid), partial[stream].length, !!(info.rcv_flags & SCTP_UNORDERED), partial[stream].crc);
		if (echoing && partial[stream].length <= LONGEST) answer(sock, &info, echo_data, partial[stream].length);
		partial[stream].length = 0;
		partial[stream].crc = 0;
	}
}

/* send STREAM PPID LENGTH COUNT UNORDERED POLICY VALUE: byte k of message i is i * 7 + STREAM + k. */
static void send_messages(const char *order) {
	unsigned stream, ppid, length, count, unordered, policy, value;
	if (sscanf(order, "send %u %u %u %u %u %u %u", &stream, &ppid, &length, &count, &unordered, &policy, &value) != 7) fail("order");
	unsigned char *data = malloc(length);
	for (unsigned i = 0; i < count; i++) {
		struct sctp_sendv_spa spa = {.sendv_flags = SCTP_SEND_SNDINFO_VALID | (policy ? SCTP_SEND_PRINFO_VALID : 0)};
		for (unsigned k = 0; k < length; k++) data[k] = (unsigned char)(i * 7 + stream + k);
		spa.sendv_sndinfo.snd_sid = stream;
		spa.sendv_sndinfo.snd_ppid = htonl(ppid);
		spa.sendv_sndinfo.snd_flags = unordered ? SCTP_UNORDERED : 0;
		spa.sendv_prinfo.pr_policy = policy;
		spa.sendv_prinfo.pr_value = value;
		if (usrsctp_sendv(peer, data, length, NULL, 0, &spa, sizeof spa, SCTP_SENDV_SPA, 0) != (ssize_t)length) {
			say("error send: %s", strerror(errno));
			break;
		}
	}
	free(data);
	say("sent %u", count);
}

static void reset_streams(const char *order, int flags) {
	struct sctp_reset_streams *request = calloc(1, sizeof *request + sizeof(uint16_t));
	request->srs_flags = flags;
	request->srs_number_streams = 1;
	request->srs_stream_list[0] = atoi(order);
	if (usrsctp_setsockopt(peer, IPPROTO_SCTP, SCTP_RESET_STREAMS, request, sizeof *request + sizeof(uint16_t)) < 0)
		say("error reset: %s", strerror(errno));
	free(request);
}

static void add_streams(const char *order) {
	struct sctp_add_streams request = {0};
	unsigned incoming, outgoing;
	sscanf(order, "%u %u", &incoming, &outgoing);
	request.sas_instrms = incoming;
	request.sas_outstrms = outgoing;
	if (usrsctp_setsockopt(peer, IPPROTO_SCTP, SCTP_ADD_STREAMS, &request, sizeof request) < 0) say("error streams: %s", strerror(errno));
}

static void change_address(const char *text, int flags, int port) {
	struct sockaddr_in address;
	char copy[64];
	snprintf(copy, sizeof copy, "%s", text);
	copy[strcspn(copy, "\n")] = 0;
	addresses(copy, port, &address);
	if (usrsctp_bindx(peer, (struct sockaddr *)&address, 1, flags) < 0) say("error bindx: %s", strerror(errno));
}

static void set_peer_primary(const char *text, int port, int name) {
	/* Both options begin with an association or an address, in different orders; usrsctp takes the first alike. */
	struct sctp_setprim request = {0};
	char copy[64];
	snprintf(copy, sizeof copy, "%s", text);
	copy[strcspn(copy, "\n")] = 0;
	addresses(copy, port, (struct sockaddr_in *)&request.ssp_addr);
	if (usrsctp_setsockopt(peer, IPPROTO_SCTP, name, &request, sizeof request) < 0) say("error primary: %s", strerror(errno));
}

static void obey(const char *order, int sctp_port) {
	if (!strncmp(order, "send ", 5)) send_messages(order);
	else if (!strncmp(order, "quiet", 5)) quiet = 1;
	else if (!strncmp(order, "echo", 4)) echo_data = malloc(LONGEST), echoing = quiet = 1;
	else if (!strncmp(order, "total", 5)) say("total %llu %llu", total_messages, total_bytes);
	else if (!strncmp(order, "crc ", 4)) say("crc %08x", stream_crc[atoi(order + 4) % STREAMS]);
	else if (!strncmp(order, "reset-outgoing ", 15)) reset_streams(order + 15, SCTP_STREAM_RESET_OUTGOING);
	else if (!strncmp(order, "reset-incoming ", 15)) reset_streams(order + 15, SCTP_STREAM_RESET_INCOMING);
	else if (!strncmp(order, "streams ", 8)) add_streams(order + 8);
	else if (!strncmp(order, "add-address ", 12)) change_address(order + 12, SCTP_BINDX_ADD_ADDR, sctp_port);
	else if (!strncmp(order, "remove-address ", 15)) change_address(order + 15, SCTP_BINDX_REM_ADDR, sctp_port);
	else if (!strncmp(order, "peer-primary ", 13)) set_peer_primary(order + 13, sctp_port, SCTP_SET_PEER_PRIMARY_ADDR);
	else if (!strncmp(order, "primary ", 8)) set_peer_primary(order + 8, sctp_port, SCTP_PRIMARY_ADDR);
	else if (!strncmp(order, "shutdown", 8)) {
		if (usrsctp_shutdown(peer, SHUT_WR) < 0) say("error shutdown: %s", strerror(errno));
	}
	else if (!strncmp(order, "abort", 5)) {
		struct sctp_sndinfo info = {.snd_flags = SCTP_ABORT};
		if (usrsctp_sendv(peer, "bye", 3, NULL, 0, &info, sizeof info, SCTP_SENDV_SNDINFO, 0) < 0) say("error abort: %s", strerror(errno));
	} else say("error order: %s", order);
}

/* usrsctp's thread for changes of addresses waits for a signal without looking whether there is work already: what is
   asked of it before it waits is never done. A started thread that sleeps (state S in /proc) waits. */
static int iterator_waits(void) {
	DIR *threads = opendir("/proc/self/task");
	int waits = 0;
	for (struct dirent *thread; threads != NULL && !waits && (thread = readdir(threads)) != NULL;) {
		char path[300], text[512] = "";
		snprintf(path, sizeof path, "/proc/self/task/%s/stat", thread->d_name);
		FILE *stat = fopen(path, "r");
		if (stat == NULL) continue;
		waits = fgets(text, sizeof text, stat) != NULL && strstr(text, "(SCTP iterator) S") != NULL;
		fclose(stat);
	}
	if (threads != NULL) closedir(threads);
	return waits;
}

int main(int count, char **words) {
	struct sockaddr_in local[16], remote[16];
	if (count < 6) return 2;
	int server = !strcmp(words[1], "server"), udp_port = atoi(words[2]), remote_udp_port = atoi(words[3]), port = atoi(words[4]);
	int locals = addresses(words[5], port, local), remotes = 0, next = 6;
	if (!server) remotes = addresses(words[next++], port, remote);
	for (; next < count; next++) {
		char *value = strchr(words[next], '=');
		if (value == NULL) return 2;
		*value++ = 0;
#define SET(name) else if (!strcmp(words[next], #name)) name = atoi(value)
		if (0) {}
		SET(streams); SET(idata); SET(auth); SET(asconf); SET(reconfig); SET(pr); SET(heartbeat); SET(rto_max); SET(path_max_retrans);
		else return 2;
	}
	for (uint32_t i = 0; i < 256; i++) {
		crc_table[i] = i;
		for (int bit = 0; bit < 8; bit++) crc_table[i] = crc_table[i] & 1 ? 0xedb88320 ^ (crc_table[i] >> 1) : crc_table[i] >> 1;
	}
	usrsctp_init(udp_port, NULL, NULL);
	while (!iterator_waits()) sched_yield();
	usrsctp_sysctl_set_sctp_blackhole(2);
	usrsctp_sysctl_set_sctp_sendspace(1 << 21);
	usrsctp_sysctl_set_sctp_recvspace(1 << 21);
	usrsctp_sysctl_set_sctp_asconf_enable(1);
	struct socket *sock = usrsctp_socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP, NULL, NULL, 0, NULL);
	if (sock == NULL) fail("socket");
	set_options(sock, remote_udp_port);
	for (int i = 0; i < locals; i++)
		if ((i ? usrsctp_bindx(sock, (struct sockaddr *)&local[i], 1, SCTP_BINDX_ADD_ADDR)
			: usrsctp_bind(sock, (struct sockaddr *)&local[i], sizeof local[i])) < 0) fail("bind");
	if (server) {
		if (usrsctp_listen(sock, 5) < 0) fail("listen");
		say("listening");
		peer = usrsctp_accept(sock, NULL, NULL);
		if (peer == NULL) fail("accept");
		say("connected");
	} else {
		client = 1; /* connectx only begins; it tells "connected" with SCTP_COMM_UP, before which it refuses to abort */
		peer = sock;
		if (usrsctp_connectx(sock, (struct sockaddr *)remote, remotes, NULL) < 0) fail("connect");
	}
	pthread_t thread;
	pthread_create(&thread, NULL, receive, peer);
	char order[256];
	while (fgets(order, sizeof order, stdin) != NULL) obey(order, port);
	_exit(0);
}
