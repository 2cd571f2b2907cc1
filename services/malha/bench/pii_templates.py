"""Sentences of calls in Portuguese and Spanish, with places for numbers that name people and for numbers that do not.

Written before the detectors they judge. ``{CPF}`` and the like are personal, lower-case places are not: amounts, dates, protocol numbers and so on. ``{NAME}`` is a
name that the call lists, ``{name}`` one that it does not.
"""

from collections.abc import Mapping
from types import MappingProxyType

_PT_PERSONAL = (
    "Meu CPF é {CPF}.",
    "O CPF é {CPF}, tá?",
    "Pode anotar aí: {CPF}.",
    "{CPF}.",
    "Confirmo sim, {CPF}, e a fatura de {amount} já foi paga em {date}.",
    "O CPF do titular é {CPF} e o nome é {NAME}.",
    "Bom dia, meu nome é {NAME}, CPF {CPF}, quero cancelar o plano de {amount}.",
    "No cadastro consta o CPF {CPF} com vencimento em {date}.",
    "É o {CPF} mesmo, o protocolo era {protocol}.",
    "O CNPJ da empresa é {CNPJ}.",
    "CNPJ {CNPJ}, razão social Padaria Estrela.",
    "A nota saiu no {CNPJ}, valor de {amount}.",
    "O CNPJ novo é {CNPJ_ALPHANUMERIC}, aquele com letras.",
    "Cadastrei o CNPJ {CNPJ_ALPHANUMERIC} em {date}.",
    "Meu RG é {RG}.",
    "Identidade número {RG}, emitida em {year}.",
    "O RG dela é {RG}, órgão emissor SSP.",
    "O CEP é {CEP}.",
    "Moro na Rua das Flores, {quantity}, CEP {CEP}.",
    "Entrega no {CEP}, prazo de {quantity} dias.",
    "O cartão é {CARD}.",
    "Número do cartão: {CARD}, validade {expiry}.",
    "Passa no {CARD} em {quantity} vezes de {amount}.",
    "Meu telefone é {PHONE_BR}.",
    "Pode me ligar no {PHONE_BR} depois das {time}?",
    "O WhatsApp é {PHONE_BR}, fala com {NAME}.",
    "Meu celular é {PHONE_BR_LOCAL}.",
    "O número do fixo é {PHONE_BR_LOCAL}, ligue até as {time}.",
    "Anota: {PHONE_BR}, e o outro é {PHONE_BR}.",
    "Meu CPF é {CPF} e o telefone é {PHONE_BR}.",
    "Meu e-mail é {EMAIL}.",
    "Manda o boleto de {amount} para {EMAIL}, por favor.",
    "É {EMAIL}, tudo minúsculo.",
    "O IBAN é {IBAN_BR}.",
    "O meu IBAN é {IBAN_PT}.",
    "Faça a transferência de {amount} para {IBAN_PT}.",
    "O meu NIF é {NIF}.",
    "Fatura com contribuinte {NIF}, se faz favor.",
    "O número de contribuinte é {NIF} e o telemóvel é {PHONE_PT}.",
    "O meu telemóvel é {PHONE_PT}.",
    "Ligue-me para o {PHONE_PT} amanhã às {time}.",
    "Aqui é {NAME}, falei com a {name} ontem às {time}.",
    "Quem fala é {NAME}.",
    "{NAME} pediu o reembolso de {amount}.",
)

_ES_PERSONAL = (
    "Mi DNI es {DNI}.",
    "El DNI es el {DNI}, gracias.",
    "Apunte: {DNI}.",
    "{DNI}.",
    "Soy {NAME}, con DNI {DNI}, y quiero reclamar {amount}.",
    "El titular es {NAME} y el DNI {DNI}.",
    "Mi NIF es {DNI}, la factura es de {amount}.",
    "Mi NIE es {NIE}.",
    "Tengo NIE, es {NIE}, caduca en {year}.",
    "Es el {NIE}, sí.",
    "Mi IBAN es {IBAN_ES}.",
    "La cuenta es {IBAN_ES}, el recibo de {amount} llega el {date}.",
    "Haga la transferencia a {IBAN_ES}.",
    "El número de tarjeta es {CARD}.",
    "La tarjeta {CARD}, caduca en {expiry}.",
    "Págalo con la {CARD} en {quantity} plazos de {amount}.",
    "Mi teléfono es {PHONE_ES}.",
    "Llámeme al {PHONE_ES} a partir de las {time}.",
    "Mi móvil es el {PHONE_ES}, pregunte por {NAME}.",
    "Sí, {PHONE_ES}, y el otro {PHONE_ES}.",
    "Mi correo es {EMAIL}.",
    "Envíe la factura de {amount} a {EMAIL}, por favor.",
    "Es {EMAIL}, todo en minúsculas.",
    "Mi DNI es {DNI} y mi móvil {PHONE_ES}.",
    "Le habla {NAME}, hablé con {name} el {date}.",
    "{NAME} llamó a las {time} por el pedido {protocol}.",
    "El expediente es {protocol} y mi teléfono {PHONE_ES}.",
    "Quedamos en {amount} al mes y mi NIE es {NIE}.",
)

_PT_HARMLESS = (
    "A fatura deste mês veio {amount}.",
    "O valor total é {amount}, com {percent} de desconto.",
    "O protocolo é {protocol}.",
    "Seu protocolo é {protocol}, aberto em {date} às {time}.",
    "Comprei em {date} e paguei {amount}.",
    "O contrato é de {year} e vale até {year}.",
    "São {quantity} parcelas de {amount}.",
    "Minha internet é de {quantity} megas e chega só {quantity}.",
    "Moro na Avenida Brasil, número {quantity}, apartamento {quantity}, bloco {quantity}.",
    "O modelo é {model}, comprado em {year}.",
    "A entrega fica para {date}, entre {time} e {time}.",
    "O faturamento foi de {large} no ano de {year}.",
    "Falei com a {name} às {time} do dia {date}.",
    "O cartão final {last4} foi recusado.",
    "O reajuste foi de {percent} em {year} e de {percent} em {year}.",
    "Tenho {quantity} pontos e quero trocar por {quantity} milhas.",
    "Só um minuto, por favor.",
    "A cidade tem {population} habitantes.",
    "O pedido {protocol} saiu de {amount} para {amount}.",
    "Quero cancelar porque o preço subiu de {amount} para {amount} em {date}.",
    "O CPF tem onze dígitos, pode falar.",
    "Ligue para o cento e noventa se for emergência.",
    "Em {year} tínhamos {quantity} clientes, em {year} já eram {population}.",
    "Paguei {amount}, {amount} e {amount} nos três últimos meses.",
    "Pode parcelar em {quantity}, {quantity} ou {quantity} vezes.",
    "O voo é o {protocol}, sai às {time} e chega às {time}.",
    "Aguardo desde as {time}, já liguei {quantity} vezes.",
)

_ES_HARMLESS = (
    "La factura de este mes es de {amount}.",
    "El total son {amount}, con un {percent} de descuento.",
    "El número de incidencia es {protocol}.",
    "Su expediente es {protocol}, abierto el {date} a las {time}.",
    "Lo compré el {date} y pagué {amount}.",
    "El contrato es de {year} y dura hasta {year}.",
    "Son {quantity} cuotas de {amount}.",
    "Tengo contratados {quantity} megas y llegan {quantity}.",
    "Vivo en la calle Mayor, número {quantity}, piso {quantity}.",
    "El modelo es {model}, comprado en {year}.",
    "La entrega es el {date}, entre las {time} y las {time}.",
    "La empresa facturó {large} en {year}.",
    "Hablé con {name} a las {time} del {date}.",
    "La tarjeta terminada en {last4} fue rechazada.",
    "La subida fue del {percent} en {year} y del {percent} en {year}.",
    "Tengo {quantity} puntos y quiero cambiarlos.",
    "Un momento, por favor.",
    "La ciudad tiene {population} habitantes.",
    "El pedido {protocol} pasó de {amount} a {amount}.",
    "Quiero cancelar porque subió de {amount} a {amount} el {date}.",
    "El DNI tiene ocho números y una letra.",
    "En {year} teníamos {quantity} clientes, en {year} ya eran {population}.",
    "He pagado {amount}, {amount} y {amount} en tres meses.",
    "Se puede pagar en {quantity}, {quantity} o {quantity} plazos.",
    "El vuelo sale a las {time} y llega a las {time}.",
    "Espero desde las {time}, ya he llamado {quantity} veces.",
)

PERSONAL: Mapping[str, tuple[str, ...]] = MappingProxyType({"pt": _PT_PERSONAL, "es": _ES_PERSONAL})
HARMLESS: Mapping[str, tuple[str, ...]] = MappingProxyType({"pt": _PT_HARMLESS, "es": _ES_HARMLESS})

LISTED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "pt": ("João Carvalho", "Maria da Silva", "Thiago Nascimento", "Conceição Araújo", "Luís Figueiredo", "Beatriz Antunes de Souza"),
        "es": ("José Hernández", "María Ángeles Gutiérrez", "Íñigo Echeverría", "Lucía Domínguez", "Núria Puig", "Álvaro del Pozo"),
    }
)
"""What a call lists: its customer, its agent."""
UNLISTED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"pt": ("Fernanda", "Patrícia", "Renata", "Débora"), "es": ("Carmen", "Pilar", "Raquel", "Sonia")}
)
MODELS = (
    "Galaxy S24",
    "iPhone 15",
    "RTX 4090",
    "XPS 13 9340",
    "WRT54G",
    "Archer AX3000",
    "ThinkPad X1",
    "Moto G84",
    "Fibra 600",
    "PlayStation 5",
)
MONTHS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "pt": ("janeiro", "fevereiro", "março", "abril", "maio", "junho", "julho", "agosto", "setembro", "outubro", "novembro", "dezembro"),
        "es": ("enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre", "octubre", "noviembre", "diciembre"),
    }
)
